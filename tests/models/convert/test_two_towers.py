"""CLIP and SigLIP written: their library reads them and says the same, and what they cannot say is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign import apart, padding, places_of, read, silent, theirs, transformers
from parity_encoders import MEAN, STATISTICS, STD, clip_config, ended, pictures, siglip_config, two_towers

from patchword.config import (
    AttentionPoolConfig,
    EmbeddingHeadConfig,
    GLUConfig,
    HeadConfig,
    ImageTowerConfig,
    LabelHeadConfig,
    MeanPoolConfig,
    ModelConfig,
    RMSNormConfig,
    StackConfig,
    StandardFeedForwardConfig,
    UserError,
)
from patchword.models.convert import LAYOUTS, Read, untied
from patchword.models.convert.settings import Settings
from patchword.models.create import create_model
from patchword.training.convert import convert

PAIRS: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "clip": ("CLIPModel", clip_config, ("none", "left", "right")),
    "siglip": ("SiglipModel", siglip_config, ("none", "left")),
}


def folder(model: Any, path: Path) -> Path:
    """Their folder, with statistics of pictures."""
    silent(lambda: model.save_pretrained(path))
    (path / "preprocessor_config.json").write_text(json.dumps(STATISTICS))
    return path


def found(kind: str) -> Read:
    return read(kind, theirs(PAIRS[kind][0], PAIRS[kind][1]()), STATISTICS)[1]


@pytest.mark.parametrize("kind", PAIRS)
@torch.no_grad()
def test_from_pretrained_reads_what_is_written(kind: str, tmp_path: Path) -> None:
    name, config, sides = PAIRS[kind]
    reference = theirs(name, config()).float()
    done = convert(folder(reference, tmp_path / "theirs"), tmp_path / "ours")
    assert (done.layout, done.written, done.left_out) == (kind, False, {})
    assert convert(tmp_path / "ours", tmp_path / "back").layout == kind
    cls = getattr(transformers, name)
    again, report = silent(lambda: cls.from_pretrained(tmp_path / "back", output_loading_info=True))
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert again.config.text_config.eos_token_id == reference.config.text_config.eos_token_id
    _, given = pictures(16, 16)
    for side in sides:
        valid = padding(side)
        words = {"input_ids": ended(valid), "attention_mask": valid.long(), "position_ids": places_of(valid)}
        got, want = (model(**words, pixel_values=given.float()) for model in (again.eval(), reference))
        assert apart(got.logits_per_image, want.logits_per_image) < 1e-5
        assert apart(got.image_embeds, want.image_embeds) < 1e-6
        assert apart(got.text_embeds, want.text_embeds) < 1e-6
    processor = silent(lambda: transformers.AutoImageProcessor.from_pretrained(tmp_path / "back", backend="pil"))
    shown = np.random.default_rng(5).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    prepared = processor(shown, return_tensors="pt")["pixel_values"][0].movedim(0, -1)
    want = (shown / 255 - np.array(MEAN)) / np.array(STD)
    assert apart(prepared.double(), torch.from_numpy(want)) < 1e-5
    mine = create_model(tmp_path / "ours").double().eval()
    assert max(two_towers(again.double(), mine, sides).values()) < 1e-5


@pytest.mark.parametrize("kind", PAIRS)
def test_what_was_written_is_read_the_same(kind: str, tmp_path: Path) -> None:
    reference = theirs(PAIRS[kind][0], PAIRS[kind][1]()).float()
    convert(folder(reference, tmp_path / "theirs"), tmp_path / "ours")
    convert(tmp_path / "ours", tmp_path / "back", to=kind)
    convert(tmp_path / "back", tmp_path / "again")
    one, other = (create_model(tmp_path / name) for name in ("ours", "again"))
    assert one.config == other.config
    weights = other.state_dict()
    assert one.state_dict().keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in one.state_dict().items())
    pictures_file = json.loads((tmp_path / "back" / "preprocessor_config.json").read_text())
    assert {key: pictures_file[key] for key in STATISTICS} == STATISTICS
    assert pictures_file["size"] == {"height": 16, "width": 16}


def towers(config: ModelConfig, **changed: Any) -> ModelConfig:
    """With other settings of the picture's tower."""
    return config.replace(towers=config.towers | {"image": config.towers["image"].replace(**changed)})


def heads(config: ModelConfig, **changed: HeadConfig) -> ModelConfig:
    """With other heads."""
    return config.replace(heads=config.heads | changed)


def attention(config: StackConfig, **changed: Any) -> Any:
    assert config.attention is not None
    return config.attention.replace(**changed)


def refusal(kind: str, config: ModelConfig) -> str:
    """What is said of a model that has these settings and weights to them."""
    with pytest.raises(UserError, match=f"cannot be written in the layout {kind}") as error:
        LAYOUTS[kind].write(config, dict(untied(config.build())), {"text_config": {"eos_token_id": 35}})
    return str(error.value)


@pytest.mark.parametrize("kind", PAIRS)
def test_what_neither_can_say_is_refused_by_its_path(kind: str) -> None:
    config = found(kind).config
    image, text = config.towers["image"], config.towers["text"]
    assert isinstance(image, ImageTowerConfig)
    others = {
        "towers.image.image_size is [16, 24]": towers(config, image_size=(16, 24)),
        "towers.image.patch_size is [8, 4]": towers(config, patch_size=(8, 4)),
        "towers.image.ffn is glu, and has to be standard": towers(config, ffn=GLUConfig()),
        "towers.image.norm is rmsnorm, and has to be layernorm": towers(config, norm=RMSNormConfig()),
        "lacks towers.image.patch_norm": towers(config, patch_norm=True),
        "lacks towers.image.residual.layer_scale": towers(config, residual=image.residual.replace(layer_scale=0.1)),
        "lacks towers.image.attention.window": towers(config, attention=attention(image, window=3)),
        "lacks towers.text.attention.causal": config.replace(
            towers=config.towers | {"text": text.replace(attention=attention(text, causal=kind == "siglip"))}
        ),
        "lacks heads.text.pool.kind": heads(config, text=config.heads["text"].replace(pool=MeanPoolConfig())),
        "lacks heads.image.normalize": heads(config, image=config.heads["image"].replace(normalize=False)),
        "lacks heads.similarity.temperature": heads(
            config, similarity=config.heads["similarity"].replace(temperature=None)
        ),
        "lacks heads.similarity.columns, heads.similarity.rows": heads(
            config, similarity=config.heads["similarity"].replace(rows="text", columns="image")
        ),
        "heads.text is label, and has to be embedding": config.replace(
            heads={"image": config.heads["image"], "text": LabelHeadConfig(source="text", num_classes=2)}
        ),
        "heads has to have similarity, and has image, text": config.replace(
            heads={name: config.heads[name] for name in ("image", "text")}
        ),
        "towers has to have text, and has image": config.replace(
            towers={"image": image}, heads={"image": config.heads["image"]}
        ),
    }
    for message, other in others.items():
        assert message in refusal(kind, other)


def test_what_one_of_them_cannot_say() -> None:
    clip, siglip = found("clip").config, found("siglip").config
    assert "lacks towers.image.cls_token" in refusal("siglip", towers(siglip, cls_token=True))
    pool = AttentionPoolConfig(num_heads=4, num_queries=2)
    several = heads(siglip, image=siglip.heads["image"].replace(pool=pool))
    assert "heads.image.pool.num_queries" in refusal("siglip", several)
    biased = heads(clip, similarity=clip.heads["similarity"].replace(bias=-1.0))
    assert "lacks heads.similarity.bias" in refusal("clip", biased)
    assert "lacks heads.image.pool.kind" in refusal(
        "clip", heads(clip, image=clip.heads["image"].replace(pool=MeanPoolConfig()))
    )


@pytest.mark.parametrize("kind", PAIRS)
def test_how_training_starts_is_not_asked(kind: str) -> None:
    """A temperature is a weight."""
    one = found(kind)
    similarity = one.config.heads["similarity"].replace(temperature=0.05, max_scale=50.0)
    assert LAYOUTS[kind].write(heads(one.config, similarity=similarity), one.weights, one.kept).files


def test_a_width_that_is_left_out_is_the_default_one() -> None:
    config = found("siglip").config
    head, ffn = config.heads["image"], StandardFeedForwardConfig(activation="gelu_tanh")
    assert isinstance(head, EmbeddingHeadConfig)
    pool = head.pool.replace(ffn=ffn)
    wide = heads(towers(config, ffn=ffn), image=head.replace(pool=pool))
    written = LAYOUTS["siglip"].write(wide, dict(untied(wide.build())))
    assert written.files["config.json"]["vision_config"]["intermediate_size"] == 4 * 24
    other = heads(towers(config, ffn=ffn), image=head.replace(pool=pool.replace(ffn=ffn.replace(hidden_dim=40))))
    assert "lacks heads.image.pool.ffn.hidden_dim" in refusal("siglip", other)


def test_clip_of_an_old_file_ends_as_theirs_does() -> None:
    assert found("clip").kept["text_config"]["eos_token_id"] == 35
    usual = {"pad_token_id": 1, "bos_token_id": 49_406, "eos_token_id": 49_407}
    assert LAYOUTS["clip"].kept(Settings({"text_config": {}}, "clip")) == {"text_config": usual}
