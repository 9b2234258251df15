"""LLaVA and PaliGemma: folders as their library writes them, what is left out, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign import DEPTH, apart, read, silent, theirs
from parity_encoders import STATISTICS, pictures
from parity_pictured import ASKED, BEFORE, SAID, Rows, llava, llava_config, paligemma_config, text

from patchword.config import ImageTowerConfig, ModelConfig, UserError
from patchword.models.convert import LAYOUTS
from patchword.models.convert.settings import Settings
from patchword.models.create import create_model
from patchword.models.model import count_parameters
from patchword.training.convert import convert

LLAVA, PALIGEMMA = "LlavaForConditionalGeneration", "PaliGemmaForConditionalGeneration"
COUNTS = [len(row) for row in SAID]
LAST = (f"encoder.layers.{DEPTH - 1}.", "post_layernorm.")
"""What LLaVA has and does not read."""


def facts_of(config: Any) -> dict[str, Any]:
    """A config.json."""
    return json.loads(config.to_json_string())


def as_ours(layout: str, facts: dict[str, Any]) -> ModelConfig:
    """The model that such a file describes."""
    return LAYOUTS[layout].config(Settings(facts, "config.json"), {})


@torch.no_grad()
def test_a_folder_of_llava_is_read(tmp_path: Path) -> None:
    """The blocks behind the layer whose tokens are read, and the last norm, are named as left out."""
    reference = theirs(LLAVA, llava_config()).float()
    silent(lambda: reference.save_pretrained(tmp_path / "theirs"))
    (tmp_path / "theirs" / "preprocessor_config.json").write_text(json.dumps(STATISTICS))
    done = convert(tmp_path / "theirs", tmp_path / "ours")
    unread = {n: p for n, p in reference.model.vision_tower.named_parameters() if n.startswith(LAST)}
    assert set(done.left_out) == {f"vision_tower.{name}" for name in unread}
    count = sum(p.numel() for p in reference.parameters())
    assert done.parameters == count - sum(p.numel() for p in unread.values())
    pixels, shown = (x[:2].float() for x in pictures(16, 16))
    rows = Rows(BEFORE, SAID, COUNTS, "right")
    want = torch.cat(rows.last(reference(**rows.given(), pixel_values=shown).logits, COUNTS))
    mine = create_model(tmp_path / "ours").eval()
    given = text(SAID)
    got = mine({"image": pixels, "before": text(BEFORE), "text": given}).heads["text"]
    assert given.valid is not None
    assert apart(got[given.valid], want) < 1e-4


@torch.no_grad()
def test_a_folder_of_paligemma_is_read(tmp_path: Path) -> None:
    config = paligemma_config()
    config.vision_config.vision_use_head = True
    reference = theirs(PALIGEMMA, config).float()
    silent(lambda: reference.save_pretrained(tmp_path / "theirs"))
    (tmp_path / "theirs" / "preprocessor_config.json").write_text(json.dumps(STATISTICS))
    done = convert(tmp_path / "theirs", tmp_path / "ours")
    pool = {f"vision_tower.head.{name}" for name, _ in reference.model.vision_tower.head.named_parameters()}
    assert set(done.left_out) == pool
    mine = create_model(tmp_path / "ours").eval()
    pixels, shown = (x[:2].float() for x in pictures(16, 16))
    rows = Rows(([], []), [[*a, *b] for a, b in zip(ASKED, SAID, strict=True)], [n - 1 for n in COUNTS], "right")
    out = reference(**rows.given(), token_type_ids=rows.kinds, pixel_values=shown)
    given = text(SAID)
    got = mine({"image": pixels, "question": text(ASKED), "text": given}).heads["text"]
    scale = out.logits.abs().max().item()
    assert given.valid is not None
    assert apart(got[given.valid], torch.cat(rows.last(out.logits, COUNTS))) < 1e-3 * scale


@torch.no_grad()
def test_paligemma_sees_the_end_of_its_question_and_no_answer() -> None:
    """Tokens that are said change nothing before them; the one that ends the question changes the first score."""
    _, _, model = read("paligemma", theirs(PALIGEMMA, paligemma_config()), STATISTICS)
    others = {"image": pictures(16, 16)[0][:1], "question": torch.tensor([ASKED[0]])}

    def scores(ids: list[int]) -> torch.Tensor:
        return model({**others, "text": torch.tensor([ids])}).heads["text"][0]

    plain = scores([12, 5, 8])
    assert torch.equal(plain[:2], scores([12, 5, 9])[:2])
    assert not torch.equal(plain[0], scores([13, 5, 8])[0])


@pytest.mark.parametrize(("layout", "config"), [("llava", llava_config()), ("paligemma", paligemma_config())])
def test_small_files_mean_what_their_library_takes(layout: str, config: Any) -> None:
    """Files of 4.x leave out what is as usual; the library writes all of it."""
    parts = ("vision_config", "text_config")
    small: dict[str, Any] = {part: {"model_type": getattr(config, part).model_type} for part in parts}
    whole = facts_of(type(config)(**{part: dict(facts) for part, facts in small.items()}))
    assert as_ours(layout, small) == as_ours(layout, whole)


@pytest.mark.parametrize("words", [{"model_type": "qwen2"}, {"model_type": "qwen3", "head_dim": 8}])
def test_llava_over_other_decoders(words: dict[str, Any]) -> None:
    assert max(llava(BEFORE, words).values()) < 1e-5


def test_a_layer_is_counted_from_either_end() -> None:
    def image(**more: Any) -> ImageTowerConfig:
        tower = as_ours("llava", facts_of(llava_config(**more))).towers["image"]
        assert isinstance(tower, ImageTowerConfig)
        return tower

    assert [image(vision_feature_layer=n).depth for n in (0, 2, DEPTH, -1, -2, -DEPTH - 1, [-2])] == [
        *(0, 2, DEPTH, DEPTH, DEPTH - 1, 0, DEPTH - 1)
    ]
    assert not image().gives_cls
    assert image(vision_feature_select_strategy="full").gives_cls


WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "several layers": ("llava", {"vision_feature_layer": [-2, -1]}, "only one layer's number has"),
    "no such layer": ("llava", {"vision_feature_layer": DEPTH + 1}, "vision_feature_layer 4 is none of 4: -4 to 3"),
    "other pictures": ("llava", {"vision_config": {"model_type": "siglip_vision_model"}}, "siglip_vision_model"),
    "other words": ("llava", {"text_config": {"model_type": "gpt2"}}, "'gpt2' has no counterpart here"),
    "no offsets": ("llava", {"multimodal_projector_bias": False}, "multimodal_projector_bias False"),
    "another map": ("llava", {"projector_hidden_act": "relu"}, "projector_hidden_act 'relu'"),
    "a strategy": ("llava", {"vision_feature_select_strategy": "max"}, "vision_feature_select_strategy 'max'"),
    "the second Gemma": ("paligemma", {"text_config": {"model_type": "gemma2"}}, "'gemma2' has no counterpart here"),
    "caps": ("paligemma", {"text_config": {"final_logit_softcapping": 30.0}}, "final_logit_softcapping 30.0"),
    "causal": ("paligemma", {"text_config": {"use_bidirectional_attention": False}}, "use_bidirectional_attention"),
    "half tied": ("paligemma", {"text_config": {"tie_word_embeddings": False}}, "tie_word_embeddings False"),
    "CLIP": ("paligemma", {"vision_config": {"model_type": "clip_vision_model"}}, "clip_vision_model"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_has_no_counterpart_is_refused(name: str) -> None:
    layout, changes, message = WRONG[name]
    facts = facts_of(llava_config() if layout == "llava" else paligemma_config())
    for key, value in changes.items():
        facts[key] = facts[key] | value if isinstance(value, dict) else value
    with pytest.raises(UserError, match=message):
        as_ours(layout, facts)


PUBLISHED = {
    "llava": (
        7_063_427_072,
        {
            "text_config": {"model_type": "llama", "max_position_embeddings": 4096, "vocab_size": 32_064},
            "vision_config": {
                "model_type": "clip_vision_model",
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "image_size": 336,
                "patch_size": 14,
            },
        },
    ),
    "paligemma": (
        2_923_466_480,
        {
            "text_config": {
                "model_type": "gemma",
                "hidden_size": 2048,
                "intermediate_size": 16_384,
                "num_hidden_layers": 18,
                "num_attention_heads": 8,
                "num_key_value_heads": 1,
                "vocab_size": 257_216,
            },
            "vision_config": {
                "model_type": "siglip_vision_model",
                "hidden_size": 1152,
                "intermediate_size": 4304,
                "num_hidden_layers": 27,
                "num_attention_heads": 16,
                "patch_size": 14,
                "vision_use_head": False,
            },
        },
    ),
}
"""Numbers of LLaVA 1.5 7B and PaliGemma 3B, and what their files say of their sizes."""


@pytest.mark.parametrize("layout", PUBLISHED)
def test_published_sizes(layout: str) -> None:
    count, facts = PUBLISHED[layout]
    with torch.device("meta"):
        model = as_ours(layout, facts).build()
    last = 12 * 1024**2 + 13 * 1024 + 2 * 1024  # of LLaVA's picture tower: its last block and norm
    assert count_parameters(model) == count - (last if layout == "llava" else 0)
