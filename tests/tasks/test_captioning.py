"""Captioning: the loss is that of the captions, several together or one by one; blind and bad pictures; evaluation."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from toy_sources import ToySource, ToySplit

from patchword.config import RunConfig, UserError
from patchword.data.base import Record, Split
from patchword.models.model import Model
from patchword.models.presets import load_config
from patchword.tasks.captioning import CaptioningTask

TOY = {
    "model.image.dim": 32,
    "model.image.depth": 1,
    "model.image.stem": [8],
    "model.text.dim": 32,
    "model.trunk.dim": 32,
    "model.trunk.depth": 1,
    "model.image.image_size": [16, 16],
    "model.image.patch_size": [8, 8],
    "data.image.height": 16,
    "data.image.width": 16,
    "data.batch.captions": 1,
    "data.image.augment.crop": 1.0,
    "data.image.augment.ratio": 1.0,
    "data.tokenizer.kind": "words",
    "data.tokenizer.min_frequency": 1,
    "task.decode.kind": "greedy",
    "task.decode.max_len": 8,
}
WORDS = ["red", "blue", "green", "dog", "cat", "runs", "sits", "on", "the", "grass"]


def toy_split(name: str, count: int, broken: int | None = 3) -> ToySplit:
    """Pictures with one to five random captions."""
    random = np.random.default_rng(count)
    said = [
        tuple(" ".join(random.choice(WORDS, random.integers(1, 9))) for _ in range(random.integers(1, 6)))
        for _ in range(count)
    ]
    return ToySplit(name, [{"caption": own} for own in said], broken)


def toy() -> ToySource:
    """Every other caption is true; a few pictures are of one group."""
    splits = toy_split("train", 12), toy_split("val", 7)
    return ToySource(*splits, true=lambda index: index % 2 == 0, group=lambda index: "few" if index < 3 else "many")


def prepared(**changes: object) -> tuple[CaptioningTask, Model]:
    run: RunConfig = load_config("captioner-tiny", TOY | changes)
    task = CaptioningTask.prepare(run, toy())
    return task, task.model_config().build().eval()


def each(task: CaptioningTask, split: Split) -> list:
    examples = task.examples(split, train=False)
    return [examples[0, i] for i in range(len(examples))]


@pytest.mark.parametrize("together", [1, 2, 3, 5])
@pytest.mark.parametrize("preset", ["captioner-tiny", "captioner-prefix-small"])
def test_the_loss_is_that_of_each_caption_alone(together: int, preset: str) -> None:
    run = load_config(preset, TOY | {"data.batch.captions": together})
    source = toy()
    task = CaptioningTask.prepare(run, source)
    model = task.model_config().build().double().eval()
    split = source.splits["train"]
    batch = task.examples(split, train=False).collate(each(task, split))
    ours = task.loss(model, batch)

    total, count = torch.zeros((), dtype=torch.float64), 0
    single = CaptioningTask(task.config, load_config(preset, TOY), task.tokenizers)
    for example in each(single, split):
        if not hasattr(example, "pixels"):
            continue
        ids = torch.tensor([saying.says for saying in example.sayings])
        scores = model({"image": example.pixels[None], "text": ids[:, :-1]}).heads["text"]
        total = total + F.cross_entropy(scores[0], ids[0, 1:], reduction="sum")
        count += ids.shape[1] - 1
    assert int(ours.count) == count
    torch.testing.assert_close(ours.total, total, atol=1e-8, rtol=1e-10)


def test_accumulated_sums_equal_one_big_batch() -> None:
    task, model = prepared()
    model = model.double()
    split = toy_split("train", 12)
    examples = task.examples(split, train=False)
    whole = each(task, split)
    big = task.loss(model, examples.collate(whole))
    parts = [task.loss(model, examples.collate(whole[a:b])) for a, b in ((0, 5), (5, 6), (6, len(whole)))]
    assert sum(int(p.count) for p in parts) == int(big.count)
    torch.testing.assert_close(sum(p.total for p in parts), big.total)
    big_grads = torch.autograd.grad(big.total, list(model.parameters()))
    sums = [torch.autograd.grad(p.total, list(model.parameters())) for p in parts]
    for whole_grad, *pieces in zip(big_grads, *sums, strict=True):
        torch.testing.assert_close(sum(pieces), whole_grad)


def test_a_picture_that_cannot_be_read_is_listed_and_left_out() -> None:
    task, model = prepared()
    split = toy_split("train", 12)
    batch = task.examples(split, train=True).collate(each(task, split))
    assert {bad.id for bad in batch.bad} == {"train-3"}
    assert batch.bad[0].reason == "truncated"
    assert "train-3" not in batch.ids
    nothing = task.examples(split, train=True).collate([b for b in each(task, split) if hasattr(b, "reason")])
    out = task.loss(model, nothing)
    assert int(out.count) == 0
    assert out.total.item() == 0.0


def test_captions_are_made_once_and_names_still_fit_their_pictures() -> None:
    asked = Counter[int]()

    class Asked(ToySplit):
        def record(self, index: int) -> Record:
            asked[index] += 1
            return super().record(index)

    task, _ = prepared(**{"data.batch.captions": 2})
    split = Asked("train", toy_split("train", 9).texts)
    examples = each(task, split)
    assert asked == Counter(range(9))
    names = [f"train-{i}" for i in range(9) for _ in range(0, len(split.texts[i]["caption"]), 2)]
    assert [e.id for e in examples] == names


def test_blank_pictures_are_all_the_same_to_the_model() -> None:
    task, model = prepared(**{"task.blank": True})
    pictures = [torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8) for _ in range(3)]
    assert len(set(task.say(model, pictures, [{}] * 3, "cpu"))) == 1
    split = toy_split("val", 2, None)
    batch = task.examples(split, train=False).collate(each(task, split))
    assert not batch.inputs["image"].pixels.any()


def test_long_captions_keep_their_end() -> None:
    task, _ = prepared(**{"model.text.max_len": 5, "task.decode.max_len": 5})
    ids = task.said_ids("red blue green dog cat runs sits")
    assert len(ids) == 6
    assert ids[-1] == task.tokenizer.eos_id


def test_a_vocabulary_too_small_for_the_tokenizer_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.towers\.text\.vocab_size 5 is less than the tokenizer's 14"):
        prepared(**{"model.text.vocab_size": 5})


def test_evaluation_counts_what_it_says() -> None:
    task, model = prepared()
    source = toy()
    out = task.evaluate(model, source, "val", None, "cpu")
    assert out.count == 6
    assert {b.id for b in out.bad} == {"val-3"}
    assert out.metrics["scene_accuracy"] == pytest.approx(4 / 6)  # 0, 2, 4, 6 of 0, 1, 2, 4, 5, 6
    assert out.metrics["scene_accuracy_few"] == pytest.approx(2 / 3)
    assert out.metrics["scene_accuracy_many"] == pytest.approx(2 / 3)
    assert out.metrics["perplexity"] == pytest.approx(np.exp(out.metrics["loss"]))
    assert set(out.metrics) >= {"bleu1", "bleu4", "cider_d", "distinct"}
    assert task.evaluate(model, source, "val", 2, "cpu").count == 2


def test_evaluation_loss_is_the_mean_over_all_tokens() -> None:
    task, model = prepared(**{"data.batch.captions": 2, "task.label_smoothing": 0.1})
    split = toy_split("val", 7)
    batch = task.examples(split, train=False).collate(each(task, split))
    out = task.loss(model, batch)
    metrics = task.evaluate(model, toy(), "val", None, "cpu").metrics
    assert metrics["loss"] == pytest.approx(out.total.item() / int(out.count), rel=1e-5)


def test_a_prompt_is_continued() -> None:
    task, model = prepared()
    picture = [torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8)]
    assert task.say(model, picture, [{}], "cpu", "red dog")[0][0].startswith("red dog")


def test_pictures_of_several_sizes_share_a_batch() -> None:
    task, model = prepared(
        **{"data.image.resize": "fit", "data.image.multiple": 8, "model.image.position.kind": "sinusoidal"}
    )
    small, wide = (torch.randint(0, 256, (3, *side), dtype=torch.uint8) for side in ((8, 8), (8, 16)))
    together = task.say(model, [small, wide], [{}, {}], "cpu")
    alone = [task.say(model, [p], [{}], "cpu")[0] for p in (small, wide)]
    assert [t for t, _ in together] == [t for t, _ in alone]
    assert [s for _, s in together] == pytest.approx([s for _, s in alone], abs=1e-4)
