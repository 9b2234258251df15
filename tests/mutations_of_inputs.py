"""Mistakes in what is read: features, words of another program, data that other programs keep, epochs."""

from __future__ import annotations

from mutations import Mutant

FEATURES = "tests/models/test_features.py"
TOOLKIT = "tests/models/test_toolkit.py"
SHARDS = "tests/data/test_tar_shards.py"
SAVED = "tests/data/test_saved.py"

INPUT_MUTANTS = (
    Mutant(
        "features: what is not real is mapped all the same",
        "nn/embeddings.py",
        "x = x.masked_fill(~valid[..., None], 0.0)",
        "pass",
        (FEATURES,),
    ),
    Mutant(
        "features: the norm is left out",
        "nn/embeddings.py",
        "return Tokens(x if self.norm is None else self.norm(x), SequenceInfo(valid=valid))",
        "return Tokens(x, SequenceInfo(valid=valid))",
        (FEATURES,),
    ),
    Mutant(
        "words: a mask is turned round",
        "models/inputs.py",
        "return mask != 0",
        "return mask == 0",
        (TOOLKIT,),
    ),
    Mutant(
        "files: one of one's own does not come first",
        "models/presets/files.py",
        "if not path.exists() and path.as_posix() in shipped():",
        "if path.as_posix() in shipped():",
        (TOOLKIT,),
    ),
    Mutant(
        "saved data: only the first file of a split is read",
        "data/saved.py",
        "for path in self._paths:",
        "for path in self._paths[:1]:",
        (SAVED,),
    ),
    Mutant(
        "saved data: a file elsewhere is read",
        "data/saved.py",
        "if leads_out(tidy(each)):",
        "if False:",
        (SAVED,),
    ),
    Mutant(
        "tars of samples: the JSON's own picture counts",
        "data/shards.py",
        'return {**content, "image": pictures.get(_key(name), f"{_key(name)}.jpg")}',
        'return {"image": pictures.get(_key(name), f"{_key(name)}.jpg"), **content}',
        (SHARDS,),
    ),
    Mutant(
        "training: an epoch is one step short",
        "training/epochs.py",
        "steps=-(-batches // config.accumulate)",
        "steps=batches // config.accumulate - 1",
        ("tests/training/test_trainer.py",),
    ),
)
