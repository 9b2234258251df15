"""Retrieval: gradients in chunks are those of the whole, evaluation is that of plain loops, zero-shot by hand."""

from __future__ import annotations

import runpy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import patchword
from patchword.api import Measured, Trained
from patchword.config import ConfigError, RunConfig, UserError, ZeroShotConfig
from patchword.data.base import Record, Split
from patchword.data.batch import Batch
from patchword.data.image import BadImage
from patchword.models.create import planned_model
from patchword.models.model import Model, count_parameters
from patchword.models.presets import load_config
from patchword.sequence import TextInput
from patchword.tasks.base import Query
from patchword.tasks.embedding import batch_vectors
from patchword.tasks.retrieval import RetrievalTask
from patchword.training.apply import applied_to_blocks
from patchword.training.learner import Learner
from patchword.training.rehearsed import rehearsal_of, training_of

TOY: dict[str, Any] = {
    "model.image.dim": 32,
    "model.image.depth": 1,
    "model.image.stem": [],
    "model.image.patch_size": [8, 8],
    "model.image.image_size": [16, 16],
    "model.text.dim": 32,
    "model.text.depth": 1,
    "model.text.max_len": 8,
    "model.heads.image.out_dim": 16,
    "model.heads.text.out_dim": 16,
    "data.image.height": 16,
    "data.image.width": 16,
}
CAPTIONS = [
    ("a red dog", "a dog that is red", "red"),
    ("two cats",),
    ("one ape in a tree", "an ape"),
    ("a fish", "it swims"),
    ("a red fish",),
]


class ToySplit:
    """Random pictures with given texts; picture `broken` cannot be read."""

    def __init__(self, name: str, field: str, texts: Sequence[tuple[str, ...]], broken: int | None = None) -> None:
        self.name, self.field, self.texts, self.broken = name, field, texts, broken
        self.pictures = np.random.default_rng(len(texts)).integers(0, 256, (len(texts), 20, 24, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.texts)

    def record(self, index: int) -> Record:
        return Record(f"{self.name}-{index}", {self.field: self.texts[index]})

    def read(self, index: int) -> np.ndarray:
        if index == self.broken:
            raise BadImage("truncated", "the file ends early")
        return self.pictures[index]


class ToySource:
    name = "toy"
    has_pictures = True

    def __init__(
        self, texts: Sequence[tuple[str, ...]] = CAPTIONS, field: str = "caption", broken: int | None = None
    ) -> None:
        self.splits: Mapping[str, Split] = {
            "train": ToySplit("train", field, texts),
            "val": ToySplit("val", field, texts, broken),
        }

    def describes(self, split: str, index: int, caption: str) -> bool | None:
        return None

    def group(self, split: str, index: int) -> str | None:
        return None


def prepared(changes: Mapping[str, Any] | None = None, source: ToySource | None = None) -> tuple[RetrievalTask, Model]:
    run: RunConfig = load_config("clip-tiny", TOY | {"data.tokenizer.min_frequency": 1} | dict(changes or {}))
    task = RetrievalTask.prepare(run, source or ToySource())
    return task, task.model_config().build().eval()


def batch_of(task: RetrievalTask, split: Split, picked: Sequence[int] | None = None) -> Batch:
    examples = task.examples(split, train=False)
    return examples.collate([examples[0, i] for i in picked or range(len(examples))])


# ------------------------------------------------------------------ batches


def test_a_picture_with_several_captions_is_read_once() -> None:
    task, _ = prepared({"data.batch.captions": 2})
    source = ToySource(broken=3)
    examples = task.examples(source.splits["val"], train=False)
    assert len(examples) == 6  # the first picture has three captions
    batch = batch_of(task, source.splits["val"])
    assert batch.targets["pictures"].tolist() == [0, 0, 1, 2, 4]
    assert batch.targets["texts"].tolist() == [0, 0, 0, 1, 2, 2, 4]
    assert [b.id for b in batch.bad] == ["val-3"]
    ids, valid = cast(TextInput, batch.inputs["text"])
    tokenizer = task.tokenizers["text"]
    assert tokenizer.decode(ids[0].tolist()) == "red"  # captions of like length are together
    assert valid is not None
    assert valid.sum(1).tolist() == [len(tokenizer.encode(t)) for t in ("red", "a red dog")] + [7, 4, 4, 7, 5]


def test_loss_and_rehearsal() -> None:
    task, model = prepared({"data.batch.captions": 2})
    batch = task.full_batch(task.run, 5)
    assert batch.inputs["text"][0].shape == (10, 8)
    loss = task.loss(model, batch)
    assert loss.count.item() == 10
    torch.testing.assert_close(task.rehearse(task.run, model, batch), loss.total / loss.count)
    with pytest.raises(UserError, match="says nothing token by token"):
        task.rehearse_generation(task.run, model, batch)


@pytest.mark.parametrize("chunk", [None, 2])
def test_a_batch_of_bad_pictures_has_no_part_and_no_nan(chunk: int | None) -> None:
    source = ToySource(CAPTIONS[:1], broken=0)
    task, model = prepared({"task.chunk": chunk})
    batch = batch_of(task, source.splits["val"])
    assert (batch.ids, len(batch.bad)) == ((), 3)
    out = task.loss(model.train(), batch)
    assert (out.total.item(), out.count.item()) == (0.0, 0)
    out.total.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


# ------------------------------------------------------------------ gradient caching


def gradients(task: RetrievalTask, model: Model, batch: Batch) -> list[Tensor]:
    model.zero_grad()
    loss = task.loss(model, batch)
    (loss.total / loss.count).backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("contrast", ["infonce", "sigmoid", "triplet"])
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_gradients_in_chunks_are_those_of_the_whole(contrast: str, chunk: int) -> None:
    changes: dict[str, Any] = {"task.contrast.kind": contrast, "data.batch.captions": 2}
    if contrast == "triplet":
        changes["model.heads.similarity.temperature"] = None
    whole, model = prepared(changes)
    cached, _ = prepared(changes | {"task.chunk": chunk})
    model.double().train()
    batch = batch_of(whole, ToySource().splits["train"])
    for one, other in zip(gradients(whole, model, batch), gradients(cached, model, batch), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_dropout_is_drawn_again_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks draw other masks than the whole: these are the same chunks, kept."""
    task, model = prepared({"task.chunk": 2, "model.image.embed_dropout": 0.3, "model.text.residual.dropout": 0.2})
    model.double().train()
    batch = batch_of(task, ToySource().splits["train"])
    torch.manual_seed(3)
    cached = gradients(task, model, batch)
    after = torch.rand(1)
    monkeypatch.setattr("patchword.tasks.embedding.checkpoint", lambda part, own, use_reentrant: part(own))
    torch.manual_seed(3)
    for one, other in zip(gradients(task, model, batch), cached, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    assert torch.rand(1) == after


def test_chunks_bound_memory() -> None:
    """More pictures take room for themselves, their vectors and scores: activations are those of a chunk."""

    def peak(batch: int, chunk: int | None) -> int:
        run = load_config("clip-tiny", TOY | {"task.chunk": chunk, "model.text.max_len": 32})
        return training_of(rehearsal_of(run, batch), run, batch).peak()[0]

    assert peak(48, 8) - peak(16, 8) < 0.1 * (peak(48, None) - peak(16, None))


def test_chunks_and_checkpointed_blocks_go_together_and_compiled_ones_do_not() -> None:
    with pytest.raises(ConfigError, match=r"train\.compile.*retrieval runs parts again"):
        load_config("clip-tiny", {"task.chunk": 8, "train.compile": True})
    task, model = prepared({"task.chunk": 2})
    batch = batch_of(task, ToySource().splits["train"])
    plain = gradients(task, model.double().train(), batch)
    with applied_to_blocks(model, task.run.train.replace(checkpoint_blocks=True)):
        for one, other in zip(plain, gradients(task, model, batch), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_the_trainer_bounds_the_scale() -> None:
    task, model = prepared({"model.heads.similarity.max_scale": 15.0})
    learner = Learner(task, model.train(), task.run.train, "cpu")
    scale = model.heads["similarity"].log_scale
    with torch.no_grad():
        scale.fill_(9.0)
    learner.step([batch_of(task, ToySource().splits["train"])], 1, 1e-3)
    assert scale.exp().item() == pytest.approx(15.0)


# ------------------------------------------------------------------ evaluation and prediction


def test_evaluation_is_that_of_plain_loops() -> None:
    source = ToySource(broken=1)
    task, model = prepared({"data.batch.size": 3})
    out = task.evaluate(model, source, "val", None, "cpu")
    pictures = {i: task.pipeline(source.splits["val"].read(i), "", None) for i in (0, 2, 3, 4)}
    with torch.no_grad():
        images = model({"image": torch.stack(list(pictures.values()))}, heads=("image",)).heads["image"]
        said = [(i, text) for i in pictures for text in CAPTIONS[i]]
        texts = torch.cat(
            [
                model({"text": torch.tensor([task.tokenizers["text"].encode(t, 8)])}, ("text",)).heads["text"]
                for _, t in said
            ]
        )
        scores = images @ texts.T
    own = torch.tensor([[i == j for j, _ in said] for i in pictures])
    i2t = [1 + int((scores[r][~own[r]] >= scores[r][own[r]].max()).sum()) for r in range(4)]
    t2i = [1 + int((scores[:, c][~own[:, c]] >= scores[own[:, c], c]).sum()) for c in range(len(said))]
    assert out.metrics["i2t_recall_1"] == np.mean([r == 1 for r in i2t])
    assert out.metrics["t2i_mean_rank"] == pytest.approx(np.mean(t2i))
    assert out.metrics["t2i_median_rank"] == np.median(t2i)
    assert [p.text for p in out.predictions] == [said[int(scores[r].argmax())][1] for r in range(4)]
    assert [p.correct for p in out.predictions] == [r == 1 for r in i2t]
    assert [p.references for p in out.predictions] == [CAPTIONS[i] for i in pictures]
    assert (out.count, [b.id for b in out.bad]) == (4, ["val-1"])
    batches = [([0, 1, 2], [j for j, (i, _) in enumerate(said) if i < 4]), ([3], [len(said) - 1])]
    total = 0.0
    for rows, columns in batches:
        part, mine = scores[rows][:, columns] / 0.07, own[rows][:, columns]
        for r, c in mine.nonzero().tolist():
            row = torch.cat([part[r, c][None], part[r][~mine[r]]])
            column = torch.cat([part[r, c][None], part[:, c][~mine[:, c]]])
            total -= float(row.log_softmax(0)[0] + column.log_softmax(0)[0]) / 2
    assert out.metrics["loss"] == pytest.approx(total / len(said), rel=1e-4)
    assert task.evaluate(model, source, "val", 2, "cpu").count == 1


def test_a_split_of_bad_pictures_has_every_metric() -> None:
    task, model = prepared()
    out = task.evaluate(model, ToySource(CAPTIONS[:1], broken=0), "val", None, "cpu")
    assert (out.count, len(out.bad), out.predictions) == (0, 1, [])
    assert out.metrics["loss"] == out.metrics["i2t_median_rank"] == float("inf")
    assert out.metrics["recall_mean"] == 0.0


def test_predictions_are_cosines() -> None:
    task, model = prepared()
    pictures = [torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8) for _ in range(2)]
    said = task.predict(model, [Query("a", pictures[0], "a red dog"), Query("b", pictures[1], "two cats")], "cpu")
    images, texts = task.embed(model, pictures, ["a red dog", "two cats"], "cpu")
    for row, one in enumerate(said):
        assert one.score == pytest.approx(float(images[row] @ texts[row]), abs=1e-6)
    assert said[0].text == f"{said[0].score:.3f} a red dog"
    with pytest.raises(UserError, match="--text"):
        task.predict(model, [Query("a", pictures[0])], "cpu")
    with pytest.raises(UserError, match="--image"):
        task.predict(model, [Query("a", None, "a dog")], "cpu")
    assert task.predict(model, [], "cpu") == []


# ------------------------------------------------------------------ zero-shot


def test_zero_shot_by_hand() -> None:
    task, model = prepared()
    zero_shot = ZeroShotConfig(names={"ape": "an ape"}, templates=("a {}.", "{} in it"))
    task = RetrievalTask(task.config.replace(zero_shot=zero_shot), task.run, task.tokenizers)
    labels = [("red_dog",), ("ape",), ("cat",), ("ape",)]
    out = task.evaluate(model, ToySource(labels, "label", broken=2), "val", None, "cpu")
    names = ["an ape", "cat", "red dog"]
    pictures, texts = task.embed(
        model,
        [task.pipeline(ToySplit("val", "label", labels).read(i), "", None) for i in (0, 1, 3)],
        [t.format(n) for n in names for t in ("a {}.", "{} in it")],
        "cpu",
    )
    classes = F.normalize(texts.view(3, 2, -1).mean(1), dim=-1)
    chances = (pictures @ classes.T / 0.07).softmax(-1)
    right = [2, 0, 0]
    assert out.metrics["accuracy"] == pytest.approx(float((chances.argmax(1) == torch.tensor(right)).float().mean()))
    assert out.metrics["loss"] == pytest.approx(float(-chances[range(3), right].log().mean()), rel=1e-4)
    assert out.predictions[0].choices[0][1] == pytest.approx(float(chances[0].max()), rel=1e-4)
    assert out.confusion is not None
    assert out.confusion.labels == ("ape", "cat", "red_dog")
    assert (out.count, len(out.bad)) == (3, 1)


def test_zero_shot_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task\.zero_shot is for evaluation"):
        prepared({"task.zero_shot.templates": ["{}"]}, ToySource([("a",), ("b",)], "label"))
    for templates, said in (([], "is empty"), (["a photo"], "should have one {}")):
        with pytest.raises(ConfigError, match=said):
            load_config("clip-tiny", {"task.zero_shot.templates": templates})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task.head": "text"}, "unknown similarity head 'text'"),
        ({"model.heads.similarity.rows": "pixels"}, "unknown embedding head 'pixels'"),
        ({"model.heads.image.out_dim": 8}, "vectors of image are 8 wide, those of text 128"),
        ({"model.heads.similarity.rows": "text", "model.heads.similarity.columns": "image"}, "picture's tower"),
        ({"task.contrast.kind": "triplet"}, "set temperature and bias to null"),
        ({"data.image.height": 30}, "30 is not a whole number of patches"),
        ({"model.fusion": {"kind": "prefix"}}, "towers that never meet"),
    ],
)
def test_models_that_cannot_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config("clip-tiny", change)


# ------------------------------------------------------------------ a whole run

SMALL = TOY | {
    "data.scenes.train": 48,
    "data.scenes.val": 12,
    "data.scenes.test": 8,
    "data.batch.size": 16,
    "data.image.height": 32,
    "data.image.width": 32,
    "model.image.image_size": [32, 32],
    "train.steps": 3,
    "train.schedule.warmup": 1,
    "train.threads": 1,
}


def test_a_run_on_the_scenes(tmp_path: Path) -> None:
    def zero_shot(templates: list[str], names: dict[str, str]) -> Measured:
        changes: dict[str, Any] = {"task.zero_shot.templates": templates, "task.zero_shot.names": names}
        return patchword.evaluate(tmp_path / "run", split="test", **changes)

    result = patchword.train("clip-tiny", tmp_path / "run", **SMALL)
    assert 0 <= result.metrics["recall_mean"] <= 1
    assert (tmp_path / "run" / "model" / "tokenizer.json").is_file()
    trained = patchword.load(tmp_path / "run")
    assert trained.evaluate(split="novel").count == 8
    picture = np.zeros((40, 50, 3), dtype=np.uint8)
    [said] = trained.predict(picture, text="a red circle")
    vectors = trained.embed(images=[picture, picture]), trained.embed(texts="a red circle")
    assert vectors[0].shape == (2, 16)
    assert said.score == pytest.approx(float(vectors[0][0] @ vectors[1][0]), abs=1e-6)
    with pytest.raises(UserError, match="one or the other"):
        trained.embed()
    found_by_the_example(tmp_path, trained)
    shapes = zero_shot(["a {}"], {})
    assert set(shapes.metrics) >= {"accuracy", "loss"}
    with pytest.raises(UserError, match="only settings of task and data"):
        Trained(tmp_path / "run", overrides={"model.text.depth": 2})
    with pytest.raises(UserError, match=r"task\.zero_shot\.names: no class .* 'circel'.*did you mean 'circle'"):
        zero_shot(["a {}"], {"circel": "x"})


def found_by_the_example(place: Path, trained: Trained) -> None:
    search = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "search_pictures.py"))["search"]
    folder = place / "photos"
    folder.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    vectors = trained.embed(images=[folder / f"{i}.png" for i in range(3)]) @ trained.embed(texts="a red circle")[0]
    for _ in range(2):  # the second time from what was kept
        found = search(str(place / "run"), str(folder), "a red circle", most=2)
        assert [path.name for path, _ in found] == [f"{i}.png" for i in np.argsort(-vectors)[:2]]
        assert found[0][1] == pytest.approx(vectors.max(), abs=1e-6)


def test_five_pairs_are_learnt_by_heart(tmp_path: Path) -> None:
    """A003-t: R@1 is 100 on five training pairs within 200 steps."""
    source = ToySource([("a red dog",), ("two cats",), ("one ape",), ("a fish",), ("a tree",)])
    task, model = prepared(source=source)
    learner = Learner(task, model.train(), task.run.train, "cpu")
    batch = batch_of(task, source.splits["train"])
    for step in range(1, 61):
        learner.step([batch], step, 1e-3)
    found = task.evaluate(model.eval(), source, "train", None, "cpu").metrics
    assert found["i2t_recall_1"] == found["t2i_recall_1"] == 1.0


def test_vectors_of_both_at_once() -> None:
    task, model = prepared({"data.batch.captions": 3})
    batch = batch_of(task, ToySource().splits["train"])
    for whole, parts in zip(
        batch_vectors(model, batch.inputs, task.sides, None),
        batch_vectors(model, batch.inputs, task.sides, 2),
        strict=True,
    ):
        torch.testing.assert_close(whole, parts)


# ------------------------------------------------------------------ presets


def layer(dim: int, hidden: int) -> int:
    """Two norms, four maps of attention, two of the feed-forward, all with offsets."""
    return 4 * dim + 4 * (dim * dim + dim) + (dim * hidden + hidden) + (hidden * dim + dim)


def stem(channels: Sequence[int]) -> int:
    """3 x 3 convolutions with offsets, and a gain and an offset a channel of the norm after the first."""
    pairs = zip((3, *channels), channels, strict=False)
    return sum(9 * a * b + b for a, b in pairs) + 2 * channels[0]


def picture_tower(dim: int, hidden: int, depth: int, channels: Sequence[int], cells: int) -> int:
    """A stem, patches of `cells` of its outputs, layers, a last norm; sinusoidal places have no numbers."""
    return stem(channels) + (cells * channels[-1] * dim + dim) + depth * layer(dim, hidden) + 2 * dim


def word_tower(dim: int, hidden: int, depth: int, places: int) -> int:
    """Learned places, layers, a last norm; without the table of words."""
    return places * dim + depth * layer(dim, hidden) + 2 * dim


TINY = picture_tower(128, 256, 4, (16, 64, 128), 4) + word_tower(128, 256, 3, 48) + 2 * 128 * 128 + 1
SMALL_PAIR = picture_tower(128, 512, 4, (16, 64, 128), 4) + word_tower(128, 512, 1, 48) + 2 * 128 * 128 + 1
COCA = (
    picture_tower(256, 1024, 4, (32, 64, 128), 4)
    + word_tower(256, 1024, 2, 48)
    + (16 * 256 + 3 * (256 * 256 + 256))  # the summary: queries, maps of keys, values, and what they find
    + 2 * (layer(256, 1024) + 2 * 256 + 4 * (256 * 256 + 256))  # a trunk that also looks at the picture
    + 2 * 256  # its last norm
    + (256 + 3 * (256 * 256 + 256))  # the query that reads the picture off
    + 2 * 256 * 256
    + 1
)
COUNTS = {
    "clip-tiny": (TINY, 128),
    "clip-small": (SMALL_PAIR, 128),
    "siglip-small": (SMALL_PAIR + 1, 128),
    "coca-small": (COCA, 256),
}


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("vocab", [500, 3000])
def test_presets_have_exactly_these_parameters(name: str, vocab: int) -> None:
    run = load_config(name, {"model.text.vocab_size": vocab})
    with torch.device("meta"):
        assert count_parameters(planned_model(run).build()) == COUNTS[name][0] + COUNTS[name][1] * vocab


def test_clip_base_is_clip() -> None:
    """Hugging Face's CLIPModel of ViT-B/32, whose temperature is one of its numbers."""
    with torch.device("meta"):
        assert count_parameters(planned_model(load_config("clip-base")).build()) == 151_277_313
