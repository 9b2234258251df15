"""A CLIP of ours written: where its texts end, and what that does to token ids and to the tokenizer beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from foreign import apart, padding, places_of, silent, transformers

from patchword.config import BPETokenizerConfig, BytesTokenizerConfig, TokenizerConfig, UserError, WordsTokenizerConfig
from patchword.data.text import Tokenizer
from patchword.models.convert import LAYOUTS, untied
from patchword.models.convert.clip import exchanged
from patchword.models.convert.renumbered import renumbered
from patchword.models.folder import FORMAT, SETTINGS, WEIGHTS
from patchword.models.model import Model
from patchword.models.presets import retrieval
from patchword.models.weights import save_weights
from patchword.sequence import TextInput
from patchword.testing import randomise
from patchword.training.convert import convert

TEXTS = ["a red circle", "two small blue squares beside a green one", "a", ""]
KINDS: dict[str, TokenizerConfig] = {
    "bytes": BytesTokenizerConfig(),
    "pieces": BPETokenizerConfig(vocab_size=300),
    "words": WordsTokenizerConfig(min_frequency=1),
    "marks": WordsTokenizerConfig(min_frequency=1, marks=("<user>", "<reply>")),
}


def folder(path: Path, vocab_size: int) -> Model:
    """A model of ours in a folder, as a run leaves it."""
    config = retrieval.clip(image=64, text=64, out_dim=8, depth=2, patch=8, side=16)
    text = config.towers["text"].replace(vocab_size=vocab_size)
    config = config.replace(towers=config.towers | {"text": text})
    model: Model = config.build()
    randomise(model, torch.Generator().manual_seed(8))
    path.mkdir()
    save_weights(model, path / WEIGHTS)
    (path / SETTINGS).write_text(json.dumps({"format": FORMAT, "model": config.to_dict()}))
    return model.eval()


def theirs(path: Path) -> Any:
    cls = transformers.CLIPModel
    model, report = silent(lambda: cls.from_pretrained(path, output_loading_info=True))
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


def padded(rows: list[list[int]], fill: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and which of them are real, padded on the right."""
    most = max(map(len, rows))
    ids = torch.tensor([[*row, *[fill] * (most - len(row))] for row in rows])
    return ids, torch.tensor([[i < len(row) for i in range(most)] for row in rows])


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_texts_of_a_run_end_where_theirs_looks(kind: str, tmp_path: Path) -> None:
    """Their tokenizer reads the file that is written, and their model reads its ids; as one of eos_token_id 2, too."""
    tokenizer = Tokenizer.train(KINDS[kind], TEXTS)
    model = folder(tmp_path / "ours", len(tokenizer))
    tokenizer.save(tmp_path / "ours" / "tokenizer.json")
    done = convert(tmp_path / "ours", tmp_path / "theirs")
    last = len(tokenizer) - 1
    assert (done.layout, dict(done.renumbered)) == ("clip", {2: last, last: 2})
    assert done.notes == (
        f"token ids are others there: 2 is {last}, {last} is 2, so that texts end with the highest; "
        "tokenizer.json is written so",
    )
    reference = theirs(tmp_path / "theirs")
    config = reference.config.text_config
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, 1, last)
    words = silent(lambda: transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs"))
    assert (words.pad_token_id, words.bos_token_id, words.eos_token_id) == (0, 1, last)
    given = words(TEXTS, padding=True, return_tensors="pt")
    rows = tokenizer.encode_batch(TEXTS)
    ids, valid = padded(rows)
    want = ids.where(ids != 2, -1).where(ids != last, 2)
    assert torch.equal(given["input_ids"], want.where(want != -1, last))
    mine = model({"text": TextInput(ids, valid)}, heads=["text"]).heads["text"]
    keys = {name: given[name] for name in ("input_ids", "attention_mask")}
    for end in (last, 2):
        reference.text_model.eos_token_id = end
        got = reference.get_text_features(**keys).pooler_output
        assert apart(got / got.norm(dim=-1, keepdim=True), mine) < 1e-5


@torch.no_grad()
def test_padding_on_either_side_without_a_tokenizer(tmp_path: Path) -> None:
    model = folder(tmp_path / "ours", 37)
    done = convert(tmp_path / "ours", tmp_path / "theirs")
    assert done.notes[0].endswith(f"{tmp_path / 'ours'} has no tokenizer.json: number your texts so")
    assert {p.name for p in (tmp_path / "theirs").iterdir()} == {
        *("config.json", "model.safetensors", "preprocessor_config.json", "checksums.json")
    }
    reference = theirs(tmp_path / "theirs")
    generator = torch.Generator().manual_seed(9)
    for side in ("none", "left", "right"):
        valid = padding(side)
        last = (valid * torch.arange(9)).amax(-1, keepdim=True)
        ids = torch.randint(3, 37, (3, 9), generator=generator)
        ids = ids.where(last != torch.arange(9), 2).where(valid, 0)
        moved = ids.where(ids != 2, -1).where(ids != 36, 2)
        moved = moved.where(moved != -1, 36)
        words = {"input_ids": moved, "attention_mask": valid.long(), "position_ids": places_of(valid)}
        got = reference.get_text_features(**words).pooler_output
        mine = model({"text": TextInput(ids, valid)}, heads=["text"]).heads["text"]
        assert apart(got / got.norm(dim=-1, keepdim=True), mine) < 1e-5


def test_what_was_read_keeps_its_order(tmp_path: Path) -> None:
    """Written, read and written again: the ids are exchanged once."""
    folder(tmp_path / "ours", 37)
    convert(tmp_path / "ours", tmp_path / "theirs")
    convert(tmp_path / "theirs", tmp_path / "again")
    done = convert(tmp_path / "again", tmp_path / "back")
    assert (done.layout, dict(done.renumbered), done.notes) == ("clip", {}, ())
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        assert (tmp_path / "theirs" / name).read_bytes() == (tmp_path / "back" / name).read_bytes()


def test_rows_change_places() -> None:
    table = torch.arange(5.0)[:, None].expand(5, 2)
    assert exchanged(table, 2, 4)[:, 0].tolist() == [0, 1, 4, 3, 2]
    assert exchanged(table, 2, 2)[:, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_vocabulary_without_an_end_is_refused() -> None:
    config = retrieval.clip(image=64, text=64, out_dim=8, depth=1, patch=8, side=16)
    tiny = config.replace(towers=config.towers | {"text": config.towers["text"].replace(vocab_size=2)})
    with pytest.raises(UserError, match="cannot be written in the layout clip: a vocabulary of 2 has no end"):
        LAYOUTS["clip"].write(tiny, dict(untied(tiny.build())))


def test_a_renumbered_tokenizer_says_the_same_under_other_ids() -> None:
    tokenizer = Tokenizer.train(KINDS["marks"], TEXTS)
    before = json.loads(tokenizer._core.to_str())
    last = len(tokenizer) - 1
    after = tokenizers.Tokenizer.from_str(json.dumps(renumbered(before, {2: last, last: 2}, Path("tokenizer.json"))))
    assert after.get_vocab_size() == len(tokenizer)
    assert (after.token_to_id("<eos>"), after.token_to_id("<reply>")) == (last, 2)
    assert after.encode("a <reply> a").ids == [1, after.token_to_id("a"), 2, after.token_to_id("a"), last]
    with pytest.raises(UserError, match="has no vocabulary by name"):
        renumbered({"model": {"vocab": [["a", 0.0]]}}, {0: 1}, Path("tokenizer.json"))
