"""Mistakes in weights that come from other programs and go to them, that the tests must see."""

from __future__ import annotations

from mutations import Mutant

KEYMAP = "tests/models/convert/test_keymap.py"
PARITY = "tests/models/convert/test_parity.py"
ROUND_TRIP = "tests/models/convert/test_round_trip.py"
PICKLED = "tests/models/convert/test_pickled.py"
SHAPES = "tests/models/convert/test_shapes.py"
CLIP_ENDS = "tests/models/convert/test_clip_ends.py"
PICTURED_WRITTEN = "tests/models/convert/test_pictured_written.py"
TWO_TOWERS = "tests/models/convert/test_two_towers.py"

CONVERT_MUTANTS = (
    Mutant(
        "convert: a pickle may run code",
        "models/convert/unpickle.py",
        "weights_only=True",
        "weights_only=False",
        (PICKLED,),
    ),
    Mutant(
        "convert: a pickle may take all memory",
        "models/convert/unpickle.py",
        "resource.setrlimit(resource.RLIMIT_AS, (memory, memory))",
        "pass",
        (PICKLED,),
    ),
    Mutant(
        "convert: heads and parts of packed maps mixed up",
        "models/convert/transforms.py",
        "cut = theirs[0].unflatten(0, (self.num_heads, self.parts, -1))",
        "cut = theirs[0].unflatten(0, (self.parts, self.num_heads, -1)).transpose(0, 1)",
        (KEYMAP,),
    ),
    Mutant(
        "convert: left-over names pass",
        "models/convert/keymap.py",
        "_complain(missing, left)",
        "_complain(missing, [])",
        (KEYMAP,),
    ),
    Mutant(
        "convert: sines and cosines in the wrong order",
        "models/convert/reorder.py",
        "torch.arange(dim).view(-1, 2).T.flatten()",
        "torch.arange(dim).view(2, -1).T.flatten()",
        (KEYMAP,),
    ),
    Mutant(
        "convert: what is written is not compared",
        "models/convert/layout.py",
        "        if others:\n",
        "        if False:\n",
        (ROUND_TRIP,),
    ),
    Mutant(
        "convert: T5's factor forgotten",
        "models/convert/t5.py",
        "Scaled(trunk.dim**-0.5) if scaled else SAME",
        "SAME",
        (PARITY,),
    ),
    Mutant(
        "convert: GPT-2's scores by layer forgotten",
        "models/convert/gpt2.py",
        "Scaled(1 / (i + 1), 1, 1)",
        "Scaled(1, 1, 1)",
        (PARITY,),
    ),
    Mutant(
        "convert: Qwen2 without offsets",
        "models/convert/llama.py",
        "biased = kind.biased or",
        "biased =",
        (PARITY,),
    ),
    Mutant(
        "convert: the window of Mistral forgotten",
        "models/convert/llama.py",
        "            window=window,\n",
        "",
        (PARITY,),
    ),
    Mutant(
        "convert: Gemma's gains as they are stored",
        "models/convert/quirks.py",
        "return tuple(t + 1 for t in theirs)",
        "return theirs",
        (PARITY,),
    ),
    Mutant(
        "convert: the end of PaliGemma's question not in its prefix",
        "models/convert/paligemma.py",
        ", opens=True",
        "",
        (PARITY,),
    ),
    Mutant(
        "convert: LLaVA's layers counted one too far",
        "models/convert/llava.py",
        "depth + 1 + layer",
        "depth + layer",
        (PARITY,),
    ),
    Mutant(
        "convert: BERT's first segment forgotten",
        "models/convert/quirks.py",
        "return (table + second[0],)",
        "return (table,)",
        (KEYMAP,),
    ),
    Mutant(
        "convert: the end of CLIP's texts forgotten",
        "models/convert/two_towers.py",
        'TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id")',
        'TOKENS = ("pad_token_id", "bos_token_id")',
        (TWO_TOWERS,),
    ),
    Mutant(
        "convert: the end of texts of a CLIP of ours stays where it was",
        "models/convert/clip.py",
        "order[one], order[other] = other, one",
        "order[one], order[other] = one, other",
        (CLIP_ENDS,),
    ),
    Mutant(
        "convert: a renumbered tokenizer ends its texts with the old id",
        "models/convert/renumbered.py",
        'moved["ids"] = [ids.get(number, number) for number in part["ids"]]',
        'moved["ids"] = part["ids"]',
        (CLIP_ENDS,),
    ),
    Mutant(
        "convert: Gemma's gains written as ours are",
        "models/convert/quirks.py",
        "return tuple(t - 1 for t in ours)",
        "return ours",
        (PICTURED_WRITTEN,),
    ),
    Mutant(
        "convert: towers in any order written as in theirs",
        "models/convert/pictured.py",
        "if tuple(config.towers) != self.towers:",
        "if set(config.towers) != set(self.towers):",
        (PICTURED_WRITTEN,),
    ),
    Mutant(
        "convert: a part that a file says nothing of is a default one",
        "models/convert/defaults.py",
        "if settings.data.get(name) is None else {}",
        "if False else {}",
        ("tests/models/convert/test_defaults.py",),
    ),
    Mutant(
        "convert: the start of a temperature compared",
        "models/convert/compare.py",
        "out |= {name: out[name] is not None for",
        "out |= {name: out[name] for",
        (TWO_TOWERS,),
    ),
    Mutant(
        "shapes: towers do not share their table",
        "models/presets/translation.py",
        'position=NoPositionConfig(), shares="source"',
        "position=NoPositionConfig()",
        (SHAPES,),
    ),
    Mutant(
        "heads: a loss that never holds all scores forgets what comes before them",
        "nn/heads.py",
        "return x if self.transform is None else self.transform(x)",
        "return x",
        ("tests/models/test_options.py",),
    ),
)
