"""Models that only read and continue a text: no fusion, no other tower; and who cannot speak at all."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_models import VOCAB, build, close, dual, toy

from patchword.config import (
    ALiBiPositionConfig,
    BeamDecodeConfig,
    ConcatFusionConfig,
    CrossFusionConfig,
    GreedyDecodeConfig,
    LabelHeadConfig,
    LanguageHeadConfig,
    LearnedPositionConfig,
    LinearAttentionConfig,
    ModelConfig,
    NoPositionConfig,
    PerformerAttentionConfig,
    PositionConfig,
    RelativeBiasPositionConfig,
    RotaryPositionConfig,
    SampleDecodeConfig,
    SinusoidalPositionConfig,
    SoftmaxAttentionConfig,
    SparseAttentionConfig,
    TextTowerConfig,
    TopKAttentionConfig,
    UserError,
)
from patchword.models.decoding import Vocabulary
from patchword.models.generate import generate
from patchword.models.model import Model
from patchword.sequence import TextInput

LENGTH = 9
NO_SPECIALS = Vocabulary(None, None, None)
ENDS = Vocabulary(bos_id=None, eos_id=3, pad_id=None)


def decoder(position: PositionConfig, attention: Any = None, depth: int = 2, **head: Any) -> ModelConfig:
    """A causal text tower and the head that reads it."""
    text = TextTowerConfig(
        dim=16,
        depth=depth,
        vocab_size=VOCAB,
        max_len=12,
        position=position,
        attention=attention or SoftmaxAttentionConfig(num_heads=4, num_kv_heads=2, causal=True),
    )
    return ModelConfig(towers={"text": text}, heads={"text": LanguageHeadConfig(source="text", **head)})


def heads(**settings: Any) -> dict[str, Any]:
    return {"num_heads": 2, "causal": True} | settings


DECODERS = {
    "learned": decoder(LearnedPositionConfig()),
    "sinusoidal, untied": decoder(SinusoidalPositionConfig(), tied=False, bias=True),
    "rotary": decoder(RotaryPositionConfig()),
    "alibi": decoder(ALiBiPositionConfig(), SoftmaxAttentionConfig(**heads())),
    "relative": decoder(RelativeBiasPositionConfig(), SoftmaxAttentionConfig(**heads())),
    "window": decoder(RotaryPositionConfig(), SoftmaxAttentionConfig(**heads(window=3))),
    "sparse": decoder(LearnedPositionConfig(), SparseAttentionConfig(**heads())),
    "linear": decoder(LearnedPositionConfig(), LinearAttentionConfig(**heads())),
    "performer": decoder(LearnedPositionConfig(), PerformerAttentionConfig(**heads())),
    "topk": decoder(LearnedPositionConfig(), TopKAttentionConfig(**heads())),
    "no blocks": decoder(NoPositionConfig(), depth=0, tied=False),
}
EACH = pytest.mark.parametrize("name", DECODERS)
STATIC = pytest.mark.parametrize("static", [False, True], ids=["growing", "static"])


def last(model: Model, text: Any) -> Tensor:
    return model({"text": text}).heads["text"][:, -1]


@STATIC
@EACH
@torch.no_grad()
def test_steps_equal_one_pass(name: str, static: bool) -> None:
    model, ids = build(DECODERS[name]), torch.randint(0, VOCAB, (3, LENGTH))
    left = torch.arange(LENGTH) >= torch.tensor([2, 0, 1])[:, None]
    for chunks, valid in itertools.product(((1,) * LENGTH, (4, 1, 1, 1, 2), (5, 4)), (None, left)):
        if valid is not None and chunks[0] < 4:
            continue  # a row whose first token is padding has nothing to be asked about
        state, start = model.begin({}, LENGTH, static, rows=3), 0
        for n in chunks:
            end = start + n
            own = ids[:, start:end] if valid is None else TextInput(ids[:, start:end], valid[:, start:end])
            whole = ids[:, :end] if valid is None else TextInput(ids[:, :end], valid[:, :end])
            close(model.step(own, state, "text"), last(model, whole))
            start = end


@STATIC
@EACH
@torch.no_grad()
def test_beams_part_and_swap(name: str, static: bool) -> None:
    model, said = build(DECODERS[name]), torch.randint(0, VOCAB, (2, 3))
    state = model.begin({}, LENGTH, static, rows=2)
    model.step(said, state, "text")
    for order in ([0, 0, 0, 1, 1, 1], [2, 0, 0, 3, 5, 4], [0, 1, 2, 4, 4, 4]):
        rows = torch.tensor(order)
        state.select(rows)
        said = torch.cat([said[rows], torch.randint(0, VOCAB, (6, 1))], 1)
        close(model.step(said[:, -1:], state, "text"), last(model, said))


@EACH
@torch.no_grad()
def test_no_token_sees_a_later_one(name: str) -> None:
    model, ids = build(DECODERS[name]), torch.randint(0, VOCAB, (2, LENGTH))
    changed = ids.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % VOCAB
    one, other = (model({"text": x}).heads["text"] for x in (ids, changed))
    close(one[:, :5], other[:, :5])
    assert (one[:, 5:] - other[:, 5:]).abs().amax((1, 2)).min() > 1e-6


@EACH
@torch.inference_mode()
def test_greedy_equals_recomputation(name: str) -> None:
    model, prompt = build(DECODERS[name]), torch.randint(0, VOCAB, (3, 4))
    out = generate(model, {}, GreedyDecodeConfig(max_len=8), NO_SPECIALS, prompt=prompt)
    for row, said, score in zip(prompt, out.ids, out.log_probs, strict=True):
        ids, total = row.tolist(), 0.0
        for _ in range(8):
            chances = last(model, torch.tensor([ids]))[0].log_softmax(-1)
            ids.append(int(chances.argmax()))
            total += float(chances.max())
        assert said == ids[4:]
        assert score == pytest.approx(total, abs=1e-4)


@torch.inference_mode()
def test_beams_samples_and_an_end() -> None:
    model, prompt = build(DECODERS["rotary"]), torch.randint(0, VOCAB, (4, 2))
    greedy = generate(model, {}, GreedyDecodeConfig(max_len=9), ENDS, prompt=prompt)
    one = generate(model, {}, BeamDecodeConfig(num_beams=1, max_len=9), ENDS, prompt=prompt)
    assert one.ids == greedy.ids
    wide = generate(model, {}, BeamDecodeConfig(num_beams=6, max_len=9, length_penalty=0.0), ENDS, prompt=prompt)
    assert sum(wide.log_probs) >= sum(greedy.log_probs) - 1e-3
    for row, said, score in zip(prompt, wide.ids, wide.log_probs, strict=True):
        assert 3 not in said
        whole = [*row.tolist(), *said, *([3] if len(said) < 9 else [])]
        chances = model({"text": torch.tensor([whole[:-1]])}).heads["text"][0, 1:].log_softmax(-1)
        assert score == pytest.approx(chances.gather(1, torch.tensor(whole[2:])[:, None]).sum().item(), abs=1e-4)
    drawn = [generate(model, {}, SampleDecodeConfig(max_len=9, seed=s), ENDS, prompt=prompt) for s in (5, 5, 6)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_what_has_no_special_tokens_says_all_and_never_ends() -> None:
    model = build(DECODERS["no blocks"])
    with torch.no_grad():  # each token is followed by the next one
        model.towers["text"].embedding.table.weight.copy_(torch.eye(VOCAB, 16))  # pyright: ignore
        model.heads["text"].proj.weight.zero_()  # pyright: ignore
        for i in range(15):
            model.heads["text"].proj.weight[i + 1, i] = 9.0  # pyright: ignore
        model.towers["text"].stack.final_norm = torch.nn.Identity()  # pyright: ignore
    out = generate(model, {}, GreedyDecodeConfig(max_len=9), NO_SPECIALS, prompt=torch.tensor([[0]]))
    assert out.ids == [[1, 2, 3, 4, 5, 6, 7, 8, 9]]
    out = generate(model, {}, GreedyDecodeConfig(max_len=9), ENDS, prompt=torch.tensor([[0]]))
    assert out.ids == [[1, 2]]


def test_a_prompt_is_needed_and_no_rows_are_no_rows() -> None:
    model = build(DECODERS["learned"])
    with pytest.raises(ValueError, match="give inputs, or a prompt"):
        generate(model, {}, GreedyDecodeConfig(max_len=2), ENDS)
    with pytest.raises(ValueError, match="empty prompt"):
        generate(model, {}, GreedyDecodeConfig(max_len=2), ENDS, prompt=torch.zeros(1, 0, dtype=torch.long))
    nothing = torch.zeros(0, 3, dtype=torch.long)
    assert generate(model, {}, GreedyDecodeConfig(max_len=2), ENDS, prompt=nothing).ids == []
    with pytest.raises(UserError, match=r"decode.max_len 9 .* prompt of 5 .* max_len 12: .* at most 8"):
        generate(model, {}, GreedyDecodeConfig(max_len=9), ENDS, prompt=torch.zeros(1, 5, dtype=torch.long))


def test_other_input_of_a_head_that_reads_its_tower_alone_is_refused() -> None:
    model = build(DECODERS["learned"])
    for inputs, rows in (({"text": torch.zeros(1, 2, dtype=torch.long)}, 1), ({}, None)):
        with pytest.raises(ValueError, match="the head text reads the tower text alone"):
            model.begin(inputs, 4, rows=rows)


@torch.no_grad()
def test_a_captioner_without_any_input_says_how_many_rows() -> None:
    model = build(toy(CrossFusionConfig(), NoPositionConfig()))
    ids = torch.randint(0, VOCAB, (2, 4))
    state = model.begin({}, 4, rows=2)
    close(model.step(ids, state, "text"), model({"text": ids}).heads["text"][:, -1])


SEES_ALL = SoftmaxAttentionConfig(num_heads=4)
MUTE = {
    "is unknown": (dual(), "text", "unknown language head"),
    "is of another kind": (
        decoder(NoPositionConfig()).replace(heads={"text": LabelHeadConfig(source="text", num_classes=2)}),
        "text",
        "unknown language head 'text'; allowed: none",
    ),
    "reads a tower that sees all": (
        decoder(NoPositionConfig(), SEES_ALL),
        "text",
        "model.towers.text.attention.causal: text is said one word after another",
    ),
    "reads a picture": (
        toy(CrossFusionConfig(), NoPositionConfig()).replace(
            heads={"text": LanguageHeadConfig(source="image", tied=False)}
        ),
        "text",
        "model.heads.text.source: .* image is no text tower",
    ),
    "reads what met already": (
        toy(ConcatFusionConfig(), NoPositionConfig()).replace(heads={"text": LanguageHeadConfig()}),
        "text",
        "model.trunk.attention.causal: .* needs a causal trunk",
    ),
}


@pytest.mark.parametrize("why", MUTE)
def test_what_cannot_speak_is_refused(why: str) -> None:
    config, head, message = MUTE[why]
    model = build(config)
    with pytest.raises(UserError, match=message):
        model.begin({}, 4, head=head, rows=1)
    with pytest.raises(UserError, match=message):
        generate(model, {}, GreedyDecodeConfig(max_len=2), ENDS, head, torch.zeros(1, 1, dtype=torch.long))
