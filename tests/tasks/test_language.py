"""Language modelling: exact losses over whole splits, windows that meet every token, text that goes on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from toy_languages import NAMES, PLAY, lines, small, written

from patchword.config import RunConfig, UserError, override
from patchword.data.sampler import BatchSampler
from patchword.data.sources import open_source
from patchword.data.text import Tokenizer
from patchword.models.create import planned_model
from patchword.models.model import Model, count_parameters
from patchword.models.presets import load_config
from patchword.sequence import TextInput
from patchword.tasks import Query
from patchword.tasks.language import LanguageTask
from patchword.tasks.streams import Stream, Windows, covering
from patchword.testing import randomise


def made(run: RunConfig, source: Path | str) -> tuple[LanguageTask, Model, Any]:
    run = override(run, {"data.source": str(source)})
    opened = open_source(run.data, run.task.fields)
    task = LanguageTask.prepare(run, opened)
    model = task.model_config().build()
    randomise(model, torch.Generator().manual_seed(3))
    return task, model.double().eval(), opened


# ------------------------------------------------------------------ presets


@pytest.mark.parametrize(
    ("name", "changes", "count"),
    [
        ("ref/001-bigram", {}, 4_225),
        ("ref/001-bigram", {"model.text.vocab_size": 100, "model.text.dim": 100}, 10_000),
        ("ref/001-m4", {"model.text.vocab_size": 500}, 4_995_572),
        ("ref/001-m4", {"model.text.vocab_size": 1500}, 4_995_572 + 513 * 1000),
        ("ref/001-m4-video", {}, 10_788_929),
        ("ref/001-m4-video", {"model.text.vocab_size": 165}, 10_788_929 + 769 * 100),
        ("ref/001-m7", {"model.text.vocab_size": 28_782}, 12_025_582),
        ("ref/001-m7", {"model.text.vocab_size": 12_051}, 5_316_451),
        ("ref/001-m8", {}, 209_729),
        ("ref/001-m8", {"model.text.vocab_size": 165}, 209_729 + 129 * 100),
        ("ref/001-nanogpt", {}, 124_439_808),
        ("ref/001-nanogpt-cpu", {}, 804_096),
        ("ref/001-nanogpt-cpu", {"model.text.vocab_size": 165}, 804_096 + 128 * 100),
        ("gpt-small", {}, 124_439_808),
        ("gpt-medium", {}, 354_823_168),
    ],
)
def test_parameters_are_the_published_ones(name: str, changes: dict[str, Any], count: int) -> None:
    with torch.device("meta"):
        assert count_parameters(planned_model(load_config(name, changes)).build()) == count


def test_nanogpt_s_other_sizes() -> None:
    """What its README trains: characters on a GPU, and GPT-2 without offsets for a padded vocabulary."""
    plain = {f"model.text.{path}": False for path in ("attention.bias", "attention.out_bias", "ffn.bias", "norm.bias")}
    char = {"model.text.dim": 384, "model.text.depth": 6, "model.text.attention.num_heads": 6}
    char |= {"model.text.max_len": 256, "model.text.vocab_size": 65}
    for changes, count in ((char, 10_745_088), ({"model.text.vocab_size": 50_304}, 124_373_760)):
        with torch.device("meta"):
            assert count_parameters(planned_model(load_config("ref/001-nanogpt", plain | changes)).build()) == count


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_no_token_knows_a_later_one(name: str, tmp_path: Path) -> None:
    task, model, _ = made(small(name), written(tmp_path, input=PLAY))
    ids = torch.randint(0, task.vocab_size, (2, 12))
    changed = ids.clone()
    changed[:, 7:] = (changed[:, 7:] + 1) % task.vocab_size
    one, other = (model({"text": x}).heads["text"] for x in (ids, changed))
    assert (one[:, :7] - other[:, :7]).abs().max() < 1e-9
    assert (one[:, 7:] - other[:, 7:]).abs().max() > 1e-6
    valid = torch.arange(12) >= 3
    padded = model({"text": TextInput(ids, valid.expand(2, -1))}).heads["text"]
    assert (padded[:, 3:] - model({"text": ids[:, 3:]}).heads["text"]).abs().max() < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_learns_keeps_and_speaks(name: str, tmp_path: Path) -> None:
    import patchword

    changes = {"train.steps": 30, "train.schedule.warmup": 2, "train.seed": 1, "task.continuations": 1}
    run = override(small(name, **changes), {"data.source": str(written(tmp_path / "data", input=PLAY))})
    source = open_source(run.data, run.task.fields)
    torch.manual_seed(1)
    task = LanguageTask.prepare(run, source)
    before = task.evaluate(task.model_config().build().eval(), source, "val", None, "cpu").metrics["loss"]
    result = patchword.train(run, tmp_path / "run", report=False)
    assert result.metrics["loss"] < before - 0.1
    trained = patchword.load(tmp_path / "run")
    assert trained.evaluate(split="val").metrics == result.metrics
    said = trained.predict(text="KING")[0]
    assert said.text.lower().startswith("king")
    assert len(said.text) > 4
    assert said.score is not None


# ------------------------------------------------------------------ losses


@pytest.mark.parametrize("name", ["gpt-fast", "ref/001-bigram", "ref/001-m7", "gpt-tiny"])
def test_the_loss_of_a_split_is_that_of_each_window(name: str, tmp_path: Path) -> None:
    task, model, source = made(small(name), written(tmp_path, train=PLAY, val=PLAY[100:731]))
    found = task.evaluate(model, source, "val", None, "cpu")
    assert task.tokenizer is not None
    text = PLAY[100:731]
    ids = task.tokenizer.encode_stream(text)
    ids = [task.tokenizer.eos_id, *ids] if task.tokenizer.special_tokens else ids
    total, windows = 0.0, 0
    for at in range(0, len(ids) - 1, 16):
        own = torch.tensor([ids[at : at + 17]])
        scores = model({"text": own[:, :-1]}).heads["text"][0]
        total += F.cross_entropy(scores, own[0, 1:], reduction="sum").item()
        windows += 1
    assert found.count == windows
    assert found.metrics["loss"] == pytest.approx(total / (len(ids) - 1), rel=1e-6)
    assert found.metrics["perplexity"] == pytest.approx(math.exp(total / (len(ids) - 1)), rel=1e-6)
    if name == "ref/001-m7":
        assert "bits_per_byte" not in found.metrics  # words in lower case, and no blanks, are not that text
    else:
        size = len(text.encode()) - (0 if task.tokenizer.special_tokens else 1)
        assert found.metrics["bits_per_byte"] == pytest.approx(total / math.log(2) / size, rel=1e-6)


def test_the_first_windows_alone(tmp_path: Path) -> None:
    task, model, source = made(small("gpt-fast"), written(tmp_path, train=PLAY, val=PLAY[:200]))
    some = task.evaluate(model, source, "val", 3, "cpu")
    assert some.count == 3
    assert "bits_per_byte" not in some.metrics
    ids = torch.tensor(task.stream(source.splits["val"]).ids[:49].astype(np.int64))
    rows = torch.stack([ids[at : at + 17] for at in (0, 16, 32)])
    scores = model({"text": rows[:, :-1]}).heads["text"]
    assert some.metrics["loss"] == pytest.approx(F.cross_entropy(scores.flatten(0, 1), rows[:, 1:].flatten()).item())


def test_a_batch_s_loss_is_a_sum_over_tokens(tmp_path: Path) -> None:
    run = small("gpt-fast", **{"task.label_smoothing": 0.1})
    task, model, source = made(run, written(tmp_path, input=PLAY))
    examples = task.examples(source.splits["train"], train=True)
    batch = examples.collate([examples[0, i] for i in range(3)])
    target = batch.targets["said"].flatten()
    for training in (False, True):
        out = task.loss(model.train(training), batch)
        smoothing = 0.1 if training else 0.0
        scores = model(batch.inputs).heads["text"].flatten(0, 1)
        want = F.cross_entropy(scores, target, reduction="sum", label_smoothing=smoothing)
        assert out.total.item() == pytest.approx(want.item())
        assert out.count.item() == 3 * 16
        assert task.rehearse(run, model, batch).item() == pytest.approx(want.item() / 48)


# ------------------------------------------------------------------ streams and windows


def stream(count: int) -> Stream:
    return Stream("train", np.arange(count, dtype=np.uint16), None)


@pytest.mark.parametrize("count", [6, 7, 10, 11, 12, 53])
def test_an_epoch_cuts_the_stream_and_moves_from_one_to_the_next(count: int) -> None:
    windows = Windows(stream(count), 5, "text", seed=4)
    starts = set()
    for epoch in range(40):
        cut = np.stack([windows[epoch, i] for i in range(len(windows))])
        starts.add(int(cut[0, 0]))
        assert cut.shape[1] == 6
        assert (np.diff(cut, axis=1) == 1).all()
        assert (cut[1:, 0] == cut[:-1, -1]).all()  # the last token of one is the first of the next
        assert cut.min() >= 0
        assert cut.max() < count
        assert np.array_equal(cut, np.stack([Windows(stream(count), 5, "text", 4)[epoch, i] for i in range(len(cut))]))
    room = min(5, count - len(windows) * 5)
    assert starts == set(range(room))
    assert count - len(windows) * 5 <= 10


def test_a_training_goes_over_every_window_once_an_epoch() -> None:
    windows = Windows(stream(103), 5, "text", seed=0)
    batches = BatchSampler(windows.lengths, load_config("gpt-fast").data.batch.replace(size=4), 0).epoch(3)
    assert sorted(i for batch in batches for i in batch) == list(range(len(windows)))


def test_a_stream_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(UserError, match=r"has 5 tokens, a window and what follows it 6: set model.text.max"):
        Windows(stream(5), 5, "text", 0)
    assert len(Windows(stream(6), 5, "text", 0)) == 1


@pytest.mark.parametrize("count", [0, 1, 2, 6, 11, 14])
def test_covering_predicts_each_token_but_the_first_once(count: int) -> None:
    said = [int(i) for window in covering(stream(count), 5) for i in window[1:]]
    assert said == list(range(1, count))


def test_streams_differ_by_their_text() -> None:
    ids = np.arange(100, dtype=np.uint16)
    other = ids.copy()
    other[-1] = 3
    assert Stream("a", ids, None).digest() == Stream("b", ids.astype(np.uint32), None).digest()
    assert len({Stream("a", i, None).digest() for i in (ids, other, ids[:-1])}) == 3


def test_texts_of_a_table_stand_apart(tmp_path: Path) -> None:
    table = lines(tmp_path, "one two", "three\nfour", "two one")
    task, _, source = made(small("gpt-tiny"), table)
    assert task.tokenizer is not None
    ids = task.stream(source.splits["train"]).ids.tolist()
    eos = task.tokenizer.eos_id
    assert [task.tokenizer.decode(part) for part in split_at(ids, eos)] == ["", "one two", "three\nfour"]
    plain, _, source = made(small("gpt-fast"), table)
    assert plain.tokenizer is not None
    assert plain.tokenizer.decode(plain.stream(source.splits["train"]).ids.tolist()) == "one two\nthree\nfour"


def split_at(ids: list[int], mark: int) -> list[list[int]]:
    parts: list[list[int]] = [[]]
    for i in ids:
        parts += [[]] if i == mark else []
        if i != mark:
            parts[-1].append(i)
    return parts


def test_captions_of_scenes_are_text() -> None:
    run = small("gpt-tiny", **{"data.scenes.train": 5, "data.scenes.val": 2})
    task, _, source = made(run, "scenes")
    assert task.tokenizer is not None
    captions = [t for i in range(5) for t in source.splits["train"].record(i).texts["text"]]
    parts = split_at(task.stream(source.splits["train"]).ids.tolist(), task.tokenizer.eos_id)
    assert [task.tokenizer.decode(part) for part in parts[1:]] == captions


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "characters"},
        {"kind": "bytes"},
        {"kind": "bpe", "vocab_size": 300},
        {"kind": "words", "split": "blanks", "min_frequency": 1},
    ],
)
@pytest.mark.parametrize("special", [True, False])
def test_every_kind_of_tokenizer_gives_the_text_back(settings: dict[str, Any], special: bool, tmp_path: Path) -> None:
    text = PLAY if settings["kind"] != "words" else " ".join(PLAY.split(" ")).replace("  ", " ")
    run = small("gpt-fast", **{"data.tokenizer": settings | {"lowercase": False, "special_tokens": special}})
    task, model, source = made(run, written(tmp_path, train=text, val=text[:300].rsplit(" ", 1)[0]))
    assert task.tokenizer is not None
    assert task.tokenizer.decode(task.tokenizer.encode_stream(text)) == text
    assert "bits_per_byte" in task.evaluate(model, source, "val", None, "cpu").metrics
    said = task.predict(model, [Query("a", text="KING 1:\nO")], "cpu")[0].text
    assert said.startswith("KING 1:\nO")


def test_what_the_vocabulary_lacks(tmp_path: Path) -> None:
    folder = written(tmp_path, train=PLAY, val="Zürich")
    task, model, source = made(small("gpt-fast"), folder)
    with pytest.raises(UserError, match="the vocabulary lacks 'Z'"):
        task.evaluate(model, source, "val", None, "cpu")
    task, model, source = made(small("gpt-fast", **{"data.tokenizer.special_tokens": True}), folder)
    assert "bits_per_byte" not in task.evaluate(model, source, "val", None, "cpu").metrics
    with pytest.raises(UserError, match="has no token for: Zürich"):
        task.predict(model, [Query("a", text="KING Zürich")], "cpu")


# ------------------------------------------------------------------ what it says


def test_text_goes_on_beyond_the_window(tmp_path: Path) -> None:
    run = small("gpt-fast", **{"task.decode.kind": "greedy", "task.decode.max_len": 50})
    task, model, _ = made(run, written(tmp_path, input=PLAY))
    assert task.tokenizer is not None
    prompts = ["K", "KING 7:\nO  let us", "KING 12:\nO  let us say the number"]
    found = [p.text for p in task.predict(model, [Query(str(i), text=t) for i, t in enumerate(prompts)], "cpu")]
    for prompt, text in zip(prompts, found, strict=True):
        ids = task.tokenizer.encode_stream(prompt)
        seen = list(ids) if len(ids) <= 16 else ids[-8:]
        said: list[int] = []
        while len(said) < 50:
            for _ in range(16 - len(seen) + 1):
                seen.append(int(model({"text": torch.tensor([seen])}).heads["text"][0, -1].argmax()))
                said.append(seen[-1])
            seen = seen[-8:]
        assert text == task.tokenizer.decode([*ids, *said[:50]])


def test_texts_begin_and_end_where_the_vocabulary_says_so(tmp_path: Path) -> None:
    task, model, _ = made(small("gpt-tiny"), lines(tmp_path, "one two", "three\nfour", "two one"))
    found = task.predict(model, [Query("a"), Query("b", text="one")], "cpu")
    assert found[1].text.startswith("one")
    assert found == task.predict(model, [Query("a"), Query("b", text="one")], "cpu")
    with pytest.raises(UserError, match="reads no pictures"):
        task.predict(model, [Query("a", picture=torch.zeros(3, 2, 2, dtype=torch.uint8))], "cpu")
    plain, model, _ = made(small("gpt-fast"), lines(tmp_path, "one two", "three\nfour", "two one"))
    with pytest.raises(UserError, match="say how the text begins"):
        plain.predict(model, [Query("a")], "cpu")


def test_token_ids_need_no_tokenizer(tmp_path: Path) -> None:
    for name, ids in (("train", range(40)), ("val", range(30))):
        (tmp_path / f"{name}.bin").write_bytes(np.array(list(ids), dtype="<u2").tobytes())
    with pytest.raises(UserError, match=r"nothing says what the token ids mean: set model.text.vocab_size"):
        made(small("gpt-fast"), tmp_path)
    task, model, source = made(small("gpt-fast", **{"model.text.vocab_size": 40}), tmp_path)
    metrics = task.evaluate(model, source, "val", None, "cpu").metrics
    assert set(metrics) == {"loss", "perplexity"}
    with pytest.raises(UserError, match="nothing says what the token ids"):
        task.predict(model, [Query("a", text="x")], "cpu")
    task.save(tmp_path)
    assert LanguageTask.load(task.run, tmp_path).tokenizer is None
    task, model, source = made(small("gpt-fast", **{"model.text.vocab_size": 39}), tmp_path)
    with pytest.raises(UserError, match=r"train.bin: token 39 is 39, but the vocabulary has 39 entries"):
        task.examples(source.splits["train"], train=True)


def test_a_table_too_small_for_the_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"vocab_size 5 is less than the tokenizer's"):
        made(small("gpt-fast", **{"model.text.vocab_size": 5}), written(tmp_path, input=PLAY))


def test_what_cannot_model_language_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.towers.text.attention.causal: text is said one word after another"):
        load_config("gpt-fast", {"model.text.attention.causal": False})
    with pytest.raises(UserError, match=r"unknown language head 'says'; allowed: text"):
        load_config("gpt-fast", {"task.head": "says"})
    with pytest.raises(UserError, match="only language modelling can do without special tokens"):
        load_config("captioner-tiny", {"data.tokenizer.special_tokens": False})
    with pytest.raises(UserError, match=r"66 differs from vocab_size 65"):
        load_config("ref/001-bigram", {"model.text.dim": 66})


def test_saved_and_loaded(tmp_path: Path) -> None:
    for name in ("gpt-fast", "gpt-tiny"):
        task, _, _ = made(small(name), written(tmp_path / "data", input=PLAY))
        task.save(tmp_path)
        again = LanguageTask.load(task.run, tmp_path)
        assert isinstance(task.tokenizer, Tokenizer)
        assert isinstance(again.tokenizer, Tokenizer)
        assert again.tokenizer.special_tokens is task.tokenizer.special_tokens
        assert again.tokenizer.encode_stream(PLAY) == task.tokenizer.encode_stream(PLAY)
        assert again.model_config() == task.model_config()
