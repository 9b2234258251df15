"""Mistakes in counting FLOPs that the tests must see."""

from __future__ import annotations

from mutations import Mutant

ZOO = "tests/sizing/test_flops_zoo.py"
BACKWARD = "tests/sizing/test_flops_backward.py"
FUSED = "tests/sizing/test_flops_attention.py"
MODELS = "tests/sizing/test_flops_models.py"
MODULES = "tests/sizing/test_flops_modules.py"
MOVES = "tests/sizing/test_flops_moves.py"
DEVICES = "tests/sizing/test_flops_devices.py"

FLOPS_MUTANTS = (
    Mutant(
        "flops: what is written over is not made",
        "sizing/flops/registry.py",
        "made = (args, kwargs, out) if func._schema.is_mutable else out",
        "made = out",
        (MODULES,),
    ),
    Mutant(
        "flops: lists count their longest tensor",
        "sizing/flops/registry.py",
        "return Work(vector=total(args[0]))",
        "return Work(vector=numel(args[0]))",
        (MODULES,),
    ),
    Mutant(
        "flops: what has no formula costs nothing",
        "sizing/flops/registry.py",
        "        return Work(vector=max(numel(args), numel(out)))\n    return Work(known=False)",
        "        return Work(vector=max(numel(args), numel(out)))\n    return Work()",
        (ZOO,),
    ),
    Mutant(
        "flops: a sum of products moves numbers",
        "sizing/flops/moves.py",
        "index gather",
        "index mul cumsum gather",
        (MOVES,),
    ),
    Mutant(
        "flops: sparse matrices are dense",
        "sizing/flops/products.py",
        "_pair(b) * a._nnz()",
        "_pair(b) * a.numel()",
        (ZOO,),
    ),
    Mutant(
        "flops: batches are not summed up",
        "sizing/flops/products.py",
        "call.out.numel() * batch * inner",
        "call.out.numel() * inner",
        (ZOO,),
    ),
    Mutant(
        "flops: gradients that nobody wants",
        "sizing/flops/convolutions.py",
        "(bool(wanted[0]) + bool(wanted[1]))",
        "2",
        (BACKWARD,),
    ),
    Mutant(
        "flops: transposed convolutions by their result",
        "sizing/flops/convolutions.py",
        "2 * _pairs(x if transposed else call.out, weight)",
        "2 * _pairs(call.out, weight)",
        (ZOO,),
    ),
    Mutant(
        "attention: scores are kept for the backward pass",
        "sizing/flops/attention.py",
        "again = 2 * self.width if backward else 0",
        "again = 0",
        (BACKWARD,),
    ),
    Mutant(
        "attention: a causal mask is no work of the model",
        "sizing/flops/attention.py",
        "return Work(every * asked,",
        "return Work(computed * asked,",
        (FUSED,),
    ),
    Mutant(
        "attention: the CPU's kernel has smaller blocks",
        "sizing/flops/attention.py",
        "block = 512",
        "block = 256",
        (FUSED,),
    ),
    Mutant(
        "attention: the CPU's kernel reads past the keys",
        "sizing/flops/attention.py",
        "min(at + block, keys)",
        "(at + block)",
        (FUSED,),
    ),
    Mutant(
        "attention: windows begin at the top left",
        "sizing/flops/attention.py",
        "apart, found = keys - queries, 0",
        "apart, found = 0, 0",
        (FUSED,),
    ),
    Mutant(
        "flex: full blocks are not listed",
        "sizing/flops/flex.py",
        "if full_counts is not None:",
        "if full_counts is None:",
        (FUSED,),
    ),
    Mutant(
        "recurrent: layers above the first are as narrow",
        "sizing/flops/recurrent.py",
        "width = ways * hidden",
        "width = hidden",
        (ZOO,),
    ),
    Mutant(
        "trace: operations are not opened",
        "sizing/tracing/dispatched.py",
        'return has(func.name(), "CompositeImplicitAutograd") and not has(func.name(), "CPU")',
        "return False",
        (ZOO,),
    ),
    Mutant(
        "trace: what a function computes again is new",
        "sizing/tracing/places.py",
        "again = torch.is_grad_enabled()",
        "again = False",
        (BACKWARD,),
    ),
    Mutant(
        "tally: what is computed again counts for the model",
        "sizing/tracing/tally.py",
        "0 if op.again or op.phase != phase else model",
        "0 if op.phase != phase else model",
        (MODULES,),
    ),
    Mutant(
        "loss: a look without gradients makes some",
        "tasks/losses.py",
        "if not torch.is_grad_enabled():",
        "if torch.is_inference_mode_enabled():",
        (MODELS,),
    ),
)
