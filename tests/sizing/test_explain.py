"""One batch walked through a model: sums are those of the trace, shapes those of the model, masks its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from each_preset import each_preset

import patchword
from patchword import load_config
from patchword.cli import main
from patchword.config import ModelConfig, UserError
from patchword.costs import record_of
from patchword.models.presets import PUBLISHED, preset
from patchword.report.walk import render_walk
from patchword.sequence import Mask, SequenceInfo
from patchword.sizing.tracing.rehearsal import Rehearsal
from patchword.sizing.walk.explain import Explanation, explained
from patchword.sizing.walk.letters import Alphabet
from patchword.sizing.walk.sight import Sight
from patchword.sizing.walk.steps import Step, folded
from patchword.sizing.walk.words import in_words

SMALL: dict[str, Any] = {
    "model.image.dim": 32, "model.image.depth": 2, "model.text.dim": 32, "model.trunk.dim": 32, "model.trunk.depth": 3,
    "model.image.stem": [], "model.text.vocab_size": 50, "model.text.max_len": 12, "model.image.image_size": [32, 48],
    "data.image.height": 32, "data.image.width": 48,
}  # fmt: skip
PREFIX: dict[str, Any] = SMALL | {"model.trunk.depth": 1, "model.image.depth": 1}


def named(found: Explanation, *path: str) -> Step:
    first, *rest = path
    step = next(step for step in found.steps if step.name.startswith(first))
    for name in rest:
        step = next(part for part in step.parts if part.name.startswith(name))
    return step


def leaves(steps: tuple[Step, ...], times: int = 1) -> Iterator[tuple[Step, int]]:
    """Steps without parts, with how often each runs."""
    for step in steps:
        if step.parts and any(part.held for part in step.parts):
            yield from leaves(step.parts, times * step.count)
        else:
            yield step, times * step.count


@pytest.fixture(scope="module")
def small() -> Explanation:
    return patchword.explain("captioner-tiny", batch=5, **SMALL)


@pytest.mark.filterwarnings("ignore::patchword.nn.mechanisms.linformer.LinformerCostWarning")  # a published mistake
@pytest.mark.parametrize("preset", each_preset())
def test_sums_are_those_of_the_trace_for_every_preset(preset: str) -> None:
    shallow = {"model.image.depth": 3, "model.trunk.depth": 2} if preset == "captioner-base" else {}
    shallow = {"model.image.depth": 2} if "vit-" in preset else shallow
    run = load_config(preset, shallow)
    found = patchword.explain(run, batch=2)
    model, record = record_of(run, "inference", 2)
    assert found.total.parameters == sum(p.numel() for p in model.parameters())
    assert found.total.products == sum(op.work.model for op in record.ops)
    assert found.total.vector == sum(op.work.vector for op in record.ops)
    assert sum(step.count * step.parameters for step in found.steps) == found.total.parameters
    assert sum(step.count * step.products for step in found.steps) == found.total.products
    inner = list(leaves(found.steps))
    assert sum(step.products * times for step, times in inner) == found.total.products
    assert sum(step.vector * times for step, times in inner) == found.total.vector
    assert sum(step.parameters * times for step, times in inner) <= found.total.parameters
    unseen = ("ref/001-bigram", "decoder-small")  # looks at nothing; has more tokens than are drawn
    assert bool(found.masks) is (preset not in unseen)


def test_shapes_and_letters_are_those_of_the_model(small: Explanation) -> None:
    assert named(small, "image (input)").shape == (5, 3, 32, 48)
    assert named(small, "image (input)").letters == ("B", "C", "h", "w")
    assert named(small, "text (input)").shape == (5, 12)
    image = named(small, "towers.image")
    assert (image.shape, image.letters) == ((5, 6, 32), ("B", "N", "D"))
    blocks = named(small, "towers.image", "stack", "blocks")
    assert (blocks.name, blocks.count) == ("blocks.0-1", 2)
    scores = named(small, "trunk", "blocks", "cross_attn", "mechanism", "scores")
    assert (scores.shape, scores.letters) == ((5, 4, 12, 6), ("B", "H", "T", "N"))
    up = named(small, "trunk", "blocks", "ffn", "up_proj")
    assert (up.shape, up.letters, up.parameters) == ((5, 12, 256), ("B", "T", "F"), 32 * 256 + 256)
    assert up.products == 2 * 5 * 12 * 32 * 256


def test_a_block_goes_step_by_step(small: Explanation) -> None:
    names = [step.name for step in named(small, "trunk", "blocks", "self_attn").parts]
    assert names == ["norm", "q_proj", "v_proj", "k_proj", "mechanism", "out_proj", "residual: add"]
    assert [step.name.split(":")[0] for step in named(small, "trunk", "blocks").parts] == [
        "self_attn",
        "cross_attn",
        "ffn",
    ]
    turned = patchword.explain("captioner-tiny", batch=2, **SMALL, **{"model.trunk.position.kind": "rotary"})
    names = [step.name for step in named(turned, "trunk", "blocks", "self_attn").parts]
    assert sum(name.startswith("positions: ") for name in names) == 2


@pytest.mark.parametrize(
    "kind", ["softmax", "sparse", "linear", "performer", "linformer", "reformer", "topk", "differential"]
)
def test_every_mechanism_can_be_walked_through(kind: str) -> None:
    changes = {"model.image.attention.kind": kind}
    changes |= {"model.image.attention.pooled_len": 3} if kind == "linformer" else {}
    found = patchword.explain("captioner-tiny", batch=2, **PREFIX, **changes)
    mechanism = named(found, "towers.image", "stack", "blocks", "self_attn", "mechanism")
    assert mechanism.products > 0
    assert mechanism.shape == (2, 4, 6, 8)
    seen = next(mask for mask in found.masks if mask.path.startswith("towers.image"))
    assert (seen.queries, seen.keys) == (6, 6)
    assert any(any(row) for row in seen.cells)


# ------------------------------------------------------------------ masks


def drawn(mask: Mask, causal: bool, window: int | None) -> list[list[float]]:
    return mask.dense(causal, window, torch.device("cpu"))[0, 0].float().tolist()


def mask_of(found: Explanation, path: str) -> Sight:
    return next(mask for mask in found.masks if mask.path.startswith(path))


@pytest.mark.parametrize(("causal", "window"), [(True, None), (True, 3)])
def test_a_causal_mask_with_padding(causal: bool, window: int | None) -> None:
    found = patchword.explain("captioner-tiny", batch=2, **PREFIX, **{"model.trunk.attention.window": window})
    seen = mask_of(found, "trunk.blocks.0.self_attn")
    valid = torch.arange(12) < 9
    info = SequenceInfo(valid=valid[None])
    assert [list(row) for row in seen.cells] == drawn(Mask(info, info, 12, 12), causal, window)
    assert list(seen.padding) == (~valid).tolist()
    assert ("window 3" in seen.policy) == (window == 3)


def test_a_prefix_sees_itself_whole() -> None:
    changes = {"model.image.dim": 32, "model.image.stem": [], "model.image.patch_size": [56, 56], "model.text.dim": 32,
               "model.trunk.dim": 32, "model.trunk.depth": 1, "model.image.depth": 1, "model.text.max_len": 8,
               "model.text.vocab_size": 50}  # fmt: skip
    found = patchword.explain("captioner-prefix-small", batch=1, **changes)
    seen = mask_of(found, "trunk")
    places = torch.arange(12)
    order = torch.where(places < 4, 3, places)
    expected = (order[:, None] >= order) & (places < 10)
    assert [list(row) for row in seen.cells] == expected.float().tolist()
    assert named(found, "text (input)").letters == ("5B", "T")


def test_a_pattern_is_asked_what_it_sees() -> None:
    pattern = {"model.image.attention": {"kind": "sparse", "num_heads": 4, "pattern": {"kind": "local", "reach": 2}}}
    found = patchword.explain("captioner-tiny", batch=1, **PREFIX, **pattern)
    seen = mask_of(found, "towers.image")
    near = (torch.arange(6)[:, None] - torch.arange(6)).abs() < 2
    assert [list(row) for row in seen.cells] == near.float().tolist()


def test_a_memory_is_one_row_for_all(small: Explanation) -> None:
    seen = mask_of(small, "trunk.blocks.0.cross_attn")
    assert seen.cells == ((1.0,) * 6,)
    assert (seen.queries, seen.keys, seen.others) == (12, 6, 2)
    assert "to a memory" in seen.policy


def test_large_masks_are_drawn_small() -> None:
    found = patchword.explain("captioner-tiny", batch=1, **PREFIX | {"model.text.max_len": 100})
    seen = mask_of(found, "trunk.blocks.0.self_attn")
    assert (len(seen.cells), len(seen.cells[0]), seen.keys) == (16, 16, 100)
    assert 0 < seen.cells[0][0] < 1
    assert seen.cells[15][0] == 1


# ------------------------------------------------------------------ other models and other ways of calling them


def rehearsed(model: ModelConfig, loss: Callable[[Any, int], torch.Tensor]) -> Explanation:
    def of(batch: int) -> Rehearsal:
        return Rehearsal(model.build, lambda built: loss(built, batch))

    return explained("it", model, of(4), of(1), 4)


def test_a_model_of_text_alone() -> None:
    def loss(model: Any, batch: int) -> torch.Tensor:
        ids = torch.zeros(batch, 32, dtype=torch.long)
        return F.cross_entropy(model({"text": ids}).heads["text"].flatten(0, 1), ids.flatten())

    found = rehearsed(preset("ref/001-m8").model, loss)
    assert [step.name for step in found.steps] == ["text (input)", "towers.text", "heads.text", "loss"]
    assert named(found, "heads.text").letters == ("B", "T", "V")
    assert sum(step.parameters for step in found.steps) == found.total.parameters == 209_729
    (mask,) = found.masks
    assert (mask.others, mask.queries) == (3, 32)


def test_towers_that_are_called_one_by_one() -> None:
    def loss(model: Any, batch: int) -> torch.Tensor:
        inputs = {"image": torch.zeros(batch, 3, 28, 28), "text": torch.zeros(batch, 5, dtype=torch.long)}
        return torch.stack([part.x.sum() for part in model.encode(inputs).values()]).sum()

    found = rehearsed(PUBLISHED["ref/000-table"](), loss)
    assert [step.name for step in found.steps] == ["towers.image", "towers.text", "loss"]
    assert sum(step.products for step in found.steps) == found.total.products
    assert sum(step.parameters for step in found.steps) == found.total.parameters  # what is not called is the loss's


# ------------------------------------------------------------------ pieces


def test_like_steps_are_told_once() -> None:
    def step(name: str, moved: int = 0, products: int = 1) -> Step:
        return Step(name, (2, 3), ("B", "D"), 5, products, 0, moved)

    (one,) = folded([step("blocks.0", 10), step("blocks.1", 20), step("blocks.2", 30)])
    assert (one.name, one.count, one.moved, one.parameters) == ("blocks.0-2", 3, 20, 5)
    two = folded([step("blocks.0"), step("blocks.1", products=2)])
    assert [s.name for s in two] == ["blocks.0", "blocks.1"]
    again = folded([step("a", products=7), step("b")] * 3 + [step("a")])
    assert [(s.name, s.count) for s in again] == [("again and again", 3), ("a", 1)]
    assert [part.name for part in again[0].parts] == ["a", "b"]
    assert again[0].products == 8
    assert folded([]) == ()


def test_sides_have_the_letters_of_their_place() -> None:
    letters = Alphabet({"B": 4, "5B": 20}, {"T": 6}, {"H": 2}, {"D": 6, "V": 9}, {"T"})
    assert letters.name((4, 6, 6)) == ("B", "T", "D")
    assert letters.name((20, 2, 6, 6)) == ("5B", "H", "T", "D")
    assert letters.name((24, 9)) == ("BT", "V")
    assert letters.name((120, 7)) == ("5BT", ".")
    assert letters.name((4, 3, 8, 8), pixels=True) == ("B", "C", "h", "w")
    assert letters.name(()) == ()


def test_operations_in_words() -> None:
    assert in_words(["aten.mul", "aten.add", "aten.mul"]) == "multiply, add"
    assert in_words(["aten.mul", "aten.add", "aten.exp", "aten.odd_one"]) == "multiply, add, exp, ..."
    assert in_words(["aten.odd_one_"]) == "odd_one"


# ------------------------------------------------------------------ the command and the page


def words(**more: Any) -> list[str]:
    return ["explain", "captioner-tiny", *(f"{key}={json.dumps(value)}" for key, value in (PREFIX | more).items())]


def test_the_command_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words(), "--batch", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert any("3 x 6 x 32" in line and "B N D" in line for line in lines)
    assert any("·· padding" in line for line in lines)
    assert any(line.startswith("B samples in the batch") for line in lines)


def test_the_command_prints_one_object(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    page = tmp_path / "walk.html"
    assert main([*words(), "--batch", "2", "--json", "--html", str(page)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["batch"] == 2
    assert found["total"]["parameters"] == sum(step["count"] * step["parameters"] for step in found["steps"])
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["captioner-tin"], "captioner-tiny"),
        (["captioner-tiny", "model.trunk.depths=3"], "depth"),
        (["captioner-tiny", "--batch", "0"], "--batch"),
    ],
)
def test_mistakes_are_told(more: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", *more]) == 2
    assert said in capsys.readouterr().err


def test_no_batch_is_no_walk() -> None:
    with pytest.raises(UserError, match="batch of 1 or more"):
        patchword.explain("captioner-tiny", batch=0)


def test_a_model_with_many_samples_of_one_token() -> None:
    found = patchword.explain("captioner-tiny", batch=1, **PREFIX | {"model.text.max_len": 1})
    assert mask_of(found, "trunk.blocks.0.self_attn").cells == ((1.0,),)


def test_the_page_holds_hostile_names_as_text(small: Explanation) -> None:
    hostile = "</table><script>alert(1)</script>"
    step = Step(hostile, (1, 2), (hostile, "D"), parts=(Step(hostile, (), ()),))
    mask = Sight(hostile, 1, hostile, 2, 2, ((1.0, 0.0), (0.5, 1.0)), (False, True))
    text = render_walk(small._replace(name=hostile, steps=(step,), masks=(mask, *small.masks)), f"name: {hostile}")
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 6
    assert "http" not in text.split("</style>")[1]
    assert "NaN" not in text
