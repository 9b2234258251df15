"""How far our models that say a text of a picture are from theirs (LLaVA, PaliGemma), whole and step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from foreign import QUIET, SHAPE, VOCAB, apart, places_of, read, theirs, transformers
from parity_encoders import STATISTICS, pictures
from torch import Tensor

from patchword.models.model import Model
from patchword.sequence import TextInput

PATCHES, PICTURE = 4, VOCAB - 1  # of one picture; the id that stands for each
VISION = SHAPE | {"hidden_size": 20, "image_size": 16, "patch_size": 8}
WORDS = SHAPE | QUIET | {"vocab_size": VOCAB, "max_position_embeddings": 32, "num_key_value_heads": 2}
UNTIED = {"tie_word_embeddings": False}
NOTHING: Sequence[list[int]] = ([], [])
BEFORE = ([1], [1, 7, 5])
"""What stands before a picture, one a row."""
ASKED = ([1, 4, 9, 3], [1, 6])
"""What PaliGemma is asked after a picture; the token that follows ends the prompt."""
SAID = ([12, 5, 8, 21, 30], [12, 17, 3])
"""What is said after that."""


class Rows:
    """Tokens of some rows in their one sequence, and padding on one side.

    Args:
        before: ids before each picture.
        after: ids after it.
        said: how many of the last ids are answers: causal, where theirs can see both ways.
        side: left or right.
        patches: tokens of a picture.
    """

    def __init__(
        self,
        before: Sequence[list[int]],
        after: Sequence[list[int]],
        said: Sequence[int],
        side: str,
        patches: int = PATCHES,
    ) -> None:
        whole = [[*a, *[PICTURE] * patches, *b] for a, b in zip(before, after, strict=True)]
        most = max(map(len, whole))
        gaps = [most - len(row) for row in whole]
        pads = [(gap, 0) if side == "left" else (0, gap) for gap in gaps]
        self.ids = torch.tensor([[0] * a + row + [0] * b for row, (a, b) in zip(whole, pads, strict=True)])
        self.mask = torch.tensor([[0] * a + [1] * len(row) + [0] * b for row, (a, b) in zip(whole, pads, strict=True)])
        ends = [a + len(row) for row, (a, _) in zip(whole, pads, strict=True)]
        spans = list(zip(ends, said, strict=True))
        self.kinds = torch.tensor([[int(end - n <= place < end) for place in range(most)] for end, n in spans])
        self.ends = ends

    def given(self) -> dict[str, Tensor]:
        """What their model is called with, but for the pictures."""
        return {"input_ids": self.ids, "attention_mask": self.mask, "position_ids": places_of(self.mask.bool())}

    def last(self, scores: Tensor, counts: Sequence[int]) -> list[Tensor]:
        """Scores of the last so many tokens of each row."""
        return [scores[i, end - n : end] for i, (end, n) in enumerate(zip(self.ends, counts, strict=True))]


def text(rows: Sequence[list[int]], side: str = "right") -> TextInput:
    """Rows of ids as our towers read them."""
    most = max(map(len, rows))
    pads = [(most - len(row), 0) if side == "left" else (0, most - len(row)) for row in rows]
    made = [[0] * a + list(row) + [0] * b for row, (a, b) in zip(rows, pads, strict=True)]
    real = [[False] * a + [True] * len(row) + [False] * b for row, (a, b) in zip(rows, pads, strict=True)]
    return TextInput(torch.tensor(made), torch.tensor(real))


def worst(model: Model, others: dict[str, Any], said: Sequence[list[int]], want: list[Tensor]) -> dict[str, float]:
    """Our scores of rows padded on either side, and of each row alone through growing and static caches."""
    found = {"scores": 0.0, "step by step": 0.0}
    for side in ("right", "left"):
        given = text(said, side)
        out = model({**others, "text": given}).heads["text"]
        assert given.valid is not None
        found["scores"] = max(found["scores"], apart(out[given.valid], torch.cat(want)))
    shortest = min(map(len, said))
    for static in (False, True):
        for first in (1, 2):
            state = model.begin(others, shortest, static=static)
            ids = torch.tensor([row[:shortest] for row in said])
            starts = (0, *range(first, shortest))
            for start, end in zip(starts, (*starts[1:], shortest), strict=True):
                scores = model.step(ids[:, start:end], state, "text")
                expected = torch.stack([row[end - 1] for row in want])
                found["step by step"] = max(found["step by step"], apart(scores, expected))
    return found


# ------------------------------------------------------------------ LLaVA


def llava_config(words: dict[str, Any] | None = None, patches: int = PATCHES, **more: Any) -> Any:
    return transformers.LlavaConfig(
        vision_config=VISION | {"model_type": "clip_vision_model"},
        text_config=WORDS | {"model_type": "llama"} | (words or {}),
        image_token_index=PICTURE,
        image_seq_length=patches,
        **more,
    )


@torch.no_grad()
def llava(
    before: Sequence[list[int]] = NOTHING, words: dict[str, Any] | None = None, patches: int = PATCHES, **more: Any
) -> dict[str, float]:
    """Pictures first, or after a few words of their own number in each row."""
    reference = theirs("LlavaForConditionalGeneration", llava_config(words, patches, **more))
    _, _, model = read("llava", reference, STATISTICS)
    pixels, shown = (x[:2] for x in pictures(16, 16))
    counts = [len(row) for row in SAID]
    others: dict[str, Any] = {"image": pixels} | ({"before": text(before)} if any(before) else {})
    found: dict[str, float] = {}
    for side in ("left", "right"):
        rows = Rows(before, SAID, counts, side, patches)
        out = reference(**rows.given(), pixel_values=shown)
        got = worst(model, others, SAID, rows.last(out.logits, counts))
        found = {name: max(value, found.get(name, 0.0)) for name, value in got.items()}
    return found


# ------------------------------------------------------------------ PaliGemma


def paligemma_config(words: dict[str, Any] | None = None, **more: Any) -> Any:
    gemma = WORDS | {"model_type": "gemma", "head_dim": 8, "num_key_value_heads": 1}
    vision = VISION | {"model_type": "siglip_vision_model", "vision_use_head": False}
    return transformers.PaliGemmaConfig(
        vision_config=vision,
        text_config=gemma | (words or {}),
        image_token_index=PICTURE,
        projection_dim=SHAPE["hidden_size"],
        hidden_size=SHAPE["hidden_size"],
        **more,
    )


@torch.no_grad()
def paligemma(**more: Any) -> dict[str, float]:
    """Pictures, a question of its own length in each row, the token that ends it, and an answer."""
    reference = theirs("PaliGemmaForConditionalGeneration", paligemma_config(**more))
    for name, gain in reference.model.language_model.named_parameters():
        if name.endswith("norm.weight"):
            gain -= 1  # theirs adds one: around what a trained model has
    _, found, model = read("paligemma", reference, STATISTICS)
    assert not found.left_out
    pixels, shown = (x[:2] for x in pictures(16, 16))
    counts = [len(row) for row in SAID]
    after = [[*a, *b] for a, b in zip(ASKED, SAID, strict=True)]
    result: dict[str, float] = {}
    for side in ("left", "right"):
        rows = Rows(NOTHING, after, [n - 1 for n in counts], side)
        out = reference(**rows.given(), token_type_ids=rows.kinds, pixel_values=shown)
        want = rows.last(out.logits, counts)
        for asked in ("left", "right"):
            got = worst(model, {"image": pixels, "question": text(ASKED, asked)}, SAID, want)
            result = {name: max(value, result.get(name, 0.0)) for name, value in got.items()}
    return result


PICTURED: dict[str, tuple[str, Callable[[], dict[str, float]]]] = {
    "LlavaForConditionalGeneration": ("llava", llava),
    "LlavaForConditionalGeneration, words before": ("llava", lambda: llava(BEFORE)),
    "LlavaForConditionalGeneration, cls token": (
        "llava",
        lambda: llava(BEFORE, vision_feature_layer=1, vision_feature_select_strategy="full", patches=PATCHES + 1),
    ),
    "LlavaForConditionalGeneration, Mistral": (
        "llava",
        lambda: llava(BEFORE, {"model_type": "mistral", "sliding_window": 5}, vision_feature_layer=-1),
    ),
    "PaliGemmaForConditionalGeneration": ("paligemma", paligemma),
    "PaliGemmaForConditionalGeneration, untied": ("paligemma", lambda: paligemma(words=UNTIED, **UNTIED)),
}
"""By name: the layout, and what measures it."""
