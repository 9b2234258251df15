"""Generation: cached equals recomputed, beam 1 equals greedy, beams are the best, sampling follows the chances."""

from __future__ import annotations

import itertools

import pytest
import torch

from patchword.config import BeamDecodeConfig, GreedyDecodeConfig, SampleDecodeConfig, UserError
from patchword.models.create import create_model
from patchword.models.decoding import Vocabulary, narrow
from patchword.models.generate import generate
from patchword.models.model import Model

SPECIAL = Vocabulary(bos_id=1, eos_id=2, pad_id=0)
VOCAB = 13


def captioner(preset: str = "captioner-tiny", vocab: int = VOCAB, **changes: object) -> Model:
    """A toy with weights large enough that its scores differ."""
    small = {
        "model.image.dim": 32,
        "model.image.depth": 1,
        "model.image.stem": [8],
        "model.text.dim": 32,
        "model.trunk.dim": 32,
        "model.trunk.depth": 2,
        "model.image.image_size": [16, 16],
        "model.image.patch_size": [8, 8],
        "data.image.height": 16,
        "data.image.width": 16,
        "model.text.vocab_size": vocab,
        "model.init.kind": "normal",
        "model.init.std": 0.4,
        "model.embed_std": None,
    }
    return create_model(preset, **(small | changes)).eval()


def pictures(batch: int) -> dict[str, torch.Tensor]:
    return {"image": torch.randint(0, 256, (batch, 3, 16, 16), dtype=torch.uint8)}


def log_probability(model: Model, picture: torch.Tensor, ids: list[int], ended: bool) -> float:
    """Of one text, recomputed without a cache, padding and <bos> never said."""
    whole = [SPECIAL.bos_id, *ids, *([SPECIAL.eos_id] if ended else [])]
    out = model({"image": picture[None], "text": torch.tensor([whole[:-1]])}).heads["text"][0]
    out[:, [SPECIAL.pad_id, SPECIAL.bos_id]] = float("-inf")
    return out.log_softmax(-1).gather(1, torch.tensor(whole[1:])[:, None]).sum().item()


@pytest.mark.parametrize("preset", ["captioner-tiny", "captioner-prefix-small"])
@torch.inference_mode()
def test_greedy_equals_recomputation(preset: str) -> None:
    model, inputs = captioner(preset), pictures(5)
    out = generate(model, inputs, GreedyDecodeConfig(max_len=9), SPECIAL)
    for picture, said, score in zip(inputs["image"], out.ids, out.log_probs, strict=True):
        ids = [SPECIAL.bos_id]
        for _ in range(9):
            scores = model({"image": picture[None], "text": torch.tensor([ids])}).heads["text"][0, -1]
            scores[[SPECIAL.pad_id, SPECIAL.bos_id]] = float("-inf")
            ids.append(int(scores.argmax()))
            if ids[-1] == SPECIAL.eos_id:
                break
        ended = ids[-1] == SPECIAL.eos_id
        assert said == ids[1 : -1 if ended else None]
        assert score == pytest.approx(log_probability(model, picture, said, ended), abs=1e-4)


@pytest.mark.parametrize("preset", ["captioner-tiny", "captioner-prefix-small"])
def test_one_beam_is_greedy(preset: str) -> None:
    model, inputs = captioner(preset), pictures(6)
    greedy = generate(model, inputs, GreedyDecodeConfig(max_len=12), SPECIAL)
    beam = generate(model, inputs, BeamDecodeConfig(num_beams=1, max_len=12), SPECIAL)
    assert beam.ids == greedy.ids
    assert beam.log_probs == pytest.approx(greedy.log_probs, abs=1e-4)


@torch.inference_mode()
def test_enough_beams_find_the_best_text_of_all() -> None:
    model, inputs = captioner(vocab=6), pictures(3)
    out = generate(model, inputs, BeamDecodeConfig(num_beams=64, max_len=3, length_penalty=0.0), SPECIAL)
    words = [i for i in range(6) if i not in SPECIAL]
    texts = [(list(t), True) for n in range(3) for t in itertools.product(words, repeat=n)]
    texts += [(list(t), False) for t in itertools.product(words, repeat=3)]
    for picture, said, score in zip(inputs["image"], out.ids, out.log_probs, strict=True):
        scores = [log_probability(model, picture, ids, ended) for ids, ended in texts]
        assert score == pytest.approx(max(scores), abs=1e-4)
        assert said == texts[max(range(len(texts)), key=scores.__getitem__)][0]


@torch.inference_mode()
def test_beam_scores_are_those_of_the_texts_and_not_worse_than_greedy() -> None:
    model, inputs = captioner(), pictures(8)
    greedy = generate(model, inputs, GreedyDecodeConfig(max_len=10), SPECIAL)
    beam = generate(model, inputs, BeamDecodeConfig(num_beams=5, max_len=10, length_penalty=0.0), SPECIAL)
    for picture, said, score in zip(inputs["image"], beam.ids, beam.log_probs, strict=True):
        assert score == pytest.approx(log_probability(model, picture, said, len(said) < 10), abs=1e-4)
    assert sum(beam.log_probs) >= sum(greedy.log_probs) - 1e-3


def test_a_length_penalty_lengthens() -> None:
    model, inputs = captioner(), pictures(12)
    short, long = (
        generate(model, inputs, BeamDecodeConfig(num_beams=6, max_len=12, length_penalty=p), SPECIAL)
        for p in (0.0, 3.0)
    )
    assert sum(map(len, long.ids)) > sum(map(len, short.ids))


@pytest.mark.parametrize("config", [GreedyDecodeConfig(max_len=8), BeamDecodeConfig(max_len=8)])
def test_neighbours_change_nothing(config: GreedyDecodeConfig) -> None:
    model, inputs = captioner(), pictures(4)
    whole = generate(model, inputs, config, SPECIAL).ids
    assert whole == [generate(model, {"image": p[None]}, config, SPECIAL).ids[0] for p in inputs["image"]]


def test_nothing_in_nothing_out() -> None:
    out = generate(captioner(), pictures(0), GreedyDecodeConfig(), SPECIAL)
    assert out.ids == []


def test_special_tokens_are_never_said() -> None:
    model = captioner()
    with torch.no_grad():  # the model itself would say nothing else
        model.heads["text"].proj.weight[[SPECIAL.pad_id, SPECIAL.bos_id]] *= 50
    for config in (GreedyDecodeConfig(max_len=10), BeamDecodeConfig(max_len=10), SampleDecodeConfig(max_len=10)):
        for ids in generate(model, pictures(4), config, SPECIAL).ids:
            assert not set(ids) & {SPECIAL.pad_id, SPECIAL.bos_id}


def test_samples_repeat_with_their_seed_and_do_not_depend_on_neighbours() -> None:
    model, inputs = captioner(), pictures(4)
    first = generate(model, inputs, SampleDecodeConfig(max_len=10, seed=3), SPECIAL)
    torch.manual_seed(99)
    assert generate(model, inputs, SampleDecodeConfig(max_len=10, seed=3), SPECIAL) == first
    assert (
        generate(model, {"image": inputs["image"][:2]}, SampleDecodeConfig(max_len=10, seed=3), SPECIAL).ids
        == first.ids[:2]
    )
    assert generate(model, inputs, SampleDecodeConfig(max_len=10, seed=4), SPECIAL).ids != first.ids


@torch.inference_mode()
def test_samples_follow_the_chances() -> None:
    model, picture = captioner(**{"model.init.std": 0.15}), pictures(1)["image"]
    count = 3000
    inputs = {"image": picture.expand(count, -1, -1, -1)}
    out = generate(model, inputs, SampleDecodeConfig(max_len=1, temperature=0.7), SPECIAL)
    scores = model({"image": picture, "text": torch.tensor([[SPECIAL.bos_id]])}).heads["text"][0, -1] / 0.7
    scores[[SPECIAL.pad_id, SPECIAL.bos_id]] = float("-inf")
    wanted = scores.softmax(-1)
    got = torch.zeros(VOCAB)
    for ids in out.ids:
        got[ids[0] if ids else SPECIAL.eos_id] += 1 / count
    assert (got - wanted).abs().max() < 4 * (0.25 / count) ** 0.5


def test_narrowing() -> None:
    scores = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    kept = lambda **settings: narrow(scores, SampleDecodeConfig(**settings)).isfinite()[0].tolist()  # noqa: E731
    assert kept(top_k=2) == [True, True, False, False]
    assert kept(top_k=9) == [True] * 4
    assert kept(top_p=0.5) == [True, True, False, False]
    assert kept(top_p=0.39) == [True, False, False, False]
    assert kept(top_p=0.91) == [True] * 4
    assert kept(min_p=0.6) == [True, True, False, False]
    assert kept(top_k=1, top_p=0.01, min_p=1.0) == [True, False, False, False]


def test_repetition_penalty_makes_words_rarer() -> None:
    model, inputs = captioner(), pictures(10)

    def repeats(penalty: float) -> int:
        out = generate(model, inputs, GreedyDecodeConfig(max_len=14, repetition_penalty=penalty), SPECIAL)
        return sum(len(ids) - len(set(ids)) for ids in out.ids)

    assert repeats(5.0) < repeats(1.0)


def test_more_than_the_model_can_place_is_refused() -> None:
    with pytest.raises(UserError, match=r"decode.max_len 60 .* max_len 48: set decode.max_len to at most 48"):
        generate(captioner(), pictures(1), GreedyDecodeConfig(max_len=60), SPECIAL)
