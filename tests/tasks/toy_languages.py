"""Small language models and text for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from patchword.config import LanguageTaskConfig, RunConfig
from patchword.models.presets import PRESETS, load_config, preset

NAMES = [name for name in PRESETS if isinstance(preset(name).task, LanguageTaskConfig)]
"""Every preset that models language."""
PLAY = "".join(f"KING {i}:\nO  let us say the number {i}, and no more.\n\n" for i in range(60))
SMALL: dict[str, Any] = {
    "model.text.dim": 32,
    "model.text.depth": 2,
    "model.text.vocab_size": None,
    "model.text.max_len": 16,
    "train.precision": "fp32",
    "train.compile": False,
    "train.accumulate": 1,
    "train.threads": 1,
    "train.eval_every": None,
    "train.eval_samples": None,
    "data.workers": 0,
    "data.batch.size": 8,
    "task.decode.max_len": 40,
}


def small(name: str, **changes: Any) -> RunConfig:
    """A preset narrow and shallow, its vocabulary from the data."""
    own = dict(SMALL)
    if name == "ref/001-bigram":
        own |= {"model.text.dim": len(set(PLAY)), "model.text.depth": 0}
    else:
        own["model.text.attention.num_heads"] = 4
    if preset(name).data.tokenizer.kind == "bpe":
        own["data.tokenizer.vocab_size"] = 300
    return load_config(name, own | changes)


def written(folder: Path, **files: str) -> Path:
    """Files of text in a folder."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def lines(folder: Path, *texts: str) -> Path:
    """Texts in a table, the last of them for validation."""
    rows = [{"text": text, "split": "val" if text is texts[-1] else "train"} for text in texts]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "texts.jsonl"
