"""Mistakes in FlexAttention's blocks, in pooled keys and in shown weights that the tests must see."""

from __future__ import annotations

from mutations import Mutant

FLEX, WEIGHTS, LINFORMER = "tests/nn/test_flex.py", "tests/nn/test_weights.py", "tests/nn/test_linformer.py"
BLOCKS = "nn/mechanisms/flex.py"

BLOCK_MUTANTS = (
    Mutant("flex: documents see one another", BLOCKS, " & (own[b, i] == other[b, j])", "", (FLEX,)),
    Mutant("flex: padding is seen", BLOCKS, "masked_fill(~mask.keys.valid, NEVER)", "clone()", (FLEX,)),
    Mutant("flex: blocks seen in part are left out", BLOCKS, "(then[0] <= now[1])", "(then[1] <= now[1])", (FLEX,)),
    Mutant("flex: the last block is whole", BLOCKS, "whole.select(dim, -1).fill_(False)", "pass", (FLEX,)),
    Mutant(
        "flex: while a model is compiled",
        "nn/mechanisms/softmax.py",
        " or torch.compiler.is_compiling():",
        ":",
        (FLEX,),
    ),
    Mutant("weights: some are dropped", "nn/mechanisms/base.py", "        self.eval()\n", "", (WEIGHTS,)),
    Mutant(
        "weights: the second map of a pair is forgotten",
        "nn/mechanisms/differential.py",
        "out = seen - amount * doubted",
        "out = seen",
        (WEIGHTS,),
    ),
    Mutant(
        "linformer: heads change places",
        "nn/mechanisms/linformer.py",
        ".unflatten(2, x.shape[1::2]).transpose(1, 2)",
        ".unflatten(2, x.shape[1::2]).transpose(1, 2).flip(1)",
        (LINFORMER,),
    ),
)
