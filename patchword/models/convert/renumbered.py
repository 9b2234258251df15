"""A tokenizer whose ids another program wants in another order: `tokenizer.json` with some of them exchanged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patchword.config import UserError, read_file

TOKENIZER = "tokenizer.json"
_SPECIALS = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}


def tokenizer_files(folder: Path, ids: Mapping[int, int], max_len: int) -> dict[str, dict[str, Any]]:
    """The tokenizer beside a model of ours in the new order, as Hugging Face's `AutoTokenizer` reads it; none: nothing.

    Args:
        folder: the model's.
        ids: old ids and new ones.
        max_len: the longest text.

    Raises:
        UserError: it is not a tokenizer with entries by name.
    """
    path = folder / TOKENIZER
    if not path.is_file():
        return {}
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_len, **_SPECIALS}
    return {TOKENIZER: renumbered(read_file(path), ids, path), "tokenizer_config.json": about}


def renumbered(tokenizer: Mapping[str, Any], ids: Mapping[int, int], source: Path) -> dict[str, Any]:
    """A `tokenizer.json` with other ids.

    Args:
        tokenizer: what it says.
        ids: old ids and new ones.
        source: where it was read, for messages.

    Raises:
        UserError: its vocabulary is no mapping from entries to ids.
    """
    model, added = tokenizer.get("model"), tokenizer.get("added_tokens") or []
    vocabulary = model.get("vocab") if isinstance(model, Mapping) else None
    if not isinstance(model, Mapping) or not isinstance(vocabulary, Mapping):
        raise UserError(f"{source}: has no vocabulary by name, whose ids could be exchanged")
    # entries that were added later get their places from the vocabulary, so they have to stand in it
    whole = dict(vocabulary) | {token["content"]: token["id"] for token in added}
    vocabulary = {entry: ids.get(number, number) for entry, number in whole.items()}
    return {
        **tokenizer,
        "model": {**model, "vocab": dict(sorted(vocabulary.items(), key=lambda pair: pair[1]))},
        "added_tokens": [token | {"id": ids.get(token["id"], token["id"])} for token in added],
        "post_processor": _moved(tokenizer.get("post_processor"), ids),
    }


def _moved(part: Any, ids: Mapping[int, int]) -> Any:
    """The same with new ids wherever tokens are put around a text."""
    if isinstance(part, list):
        return [_moved(one, ids) for one in part]
    if not isinstance(part, Mapping):
        return part
    moved = {name: _moved(value, ids) for name, value in part.items()}
    if "tokens" in part and isinstance(part.get("ids"), list):
        moved["ids"] = [ids.get(number, number) for number in part["ids"]]
    return moved
