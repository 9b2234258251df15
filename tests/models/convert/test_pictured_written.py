"""LLaVA and PaliGemma written: their library reads them and says the same, and what they cannot say is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign import SHAPE, apart, silent, theirs, transformers
from parity_encoders import STATISTICS, pictures
from parity_pictured import (
    ASKED,
    BEFORE,
    NOTHING,
    PATCHES,
    PICTURE,
    SAID,
    UNTIED,
    Rows,
    llava_config,
    paligemma_config,
    text,
)

from patchword.config import (
    GLUConfig,
    ImageTowerConfig,
    JointFusionConfig,
    LanguageHeadConfig,
    LearnedPositionConfig,
    LinearRotaryScalingConfig,
    ModelConfig,
    NoPositionConfig,
    PrefixFusionConfig,
    RMSNormConfig,
    RotaryPositionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    SwiGLUConfig,
    TextTowerConfig,
    UserError,
)
from patchword.models.convert import LAYOUTS, untied
from patchword.models.create import create_model
from patchword.models.folder import FORMAT, SETTINGS, WEIGHTS
from patchword.models.model import Model
from patchword.models.weights import save_weights
from patchword.testing import randomise
from patchword.training.convert import convert

MODELS = {"llava": "LlavaForConditionalGeneration", "paligemma": "PaliGemmaForConditionalGeneration"}
COUNTS = [len(row) for row in SAID]


def again(path: Path, layout: str) -> Any:
    """Their model of a folder that was written; nothing is missing in it, or too much."""
    cls = getattr(transformers, MODELS[layout])
    model, report = silent(lambda: cls.from_pretrained(path, output_loading_info=True))
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


def rows_of(layout: str, side: str, patches: int = PATCHES) -> Rows:
    """Tokens of two rows of their own lengths, as each of them orders them."""
    if layout == "llava":
        return Rows(BEFORE, SAID, COUNTS, side, patches)
    return Rows(NOTHING, [[*a, *b] for a, b in zip(ASKED, SAID, strict=True)], [n - 1 for n in COUNTS], side)


def scores(model: Any, layout: str, rows: Rows, shown: torch.Tensor) -> torch.Tensor:
    """What theirs says of what follows the picture, row after row; [tokens, V]."""
    kinds = {"token_type_ids": rows.kinds} if layout == "paligemma" else {}
    return torch.cat(rows.last(model(**rows.given(), **kinds, pixel_values=shown).logits, COUNTS))


CONVERTED: dict[str, tuple[str, Any, int]] = {
    "llava": ("llava", llava_config, PATCHES),
    "llava, tied": ("llava", lambda: llava_config({"tie_word_embeddings": True}), PATCHES),
    "llava, cls token": (
        "llava",
        lambda: llava_config(patches=PATCHES + 1, vision_feature_layer=1, vision_feature_select_strategy="full"),
        PATCHES + 1,
    ),
    "llava, Mistral": ("llava", lambda: llava_config({"model_type": "mistral", "sliding_window": 5}), PATCHES),
    "llava, Qwen3": ("llava", lambda: llava_config({"model_type": "qwen3", "head_dim": 8}), PATCHES),
    "paligemma": ("paligemma", paligemma_config, PATCHES),
    "paligemma, untied": ("paligemma", lambda: paligemma_config(words=UNTIED, **UNTIED), PATCHES),
}


@pytest.mark.parametrize("name", CONVERTED)
@torch.no_grad()
def test_in_and_out_says_the_same(name: str, tmp_path: Path) -> None:
    layout, config, patches = CONVERTED[name]
    reference = theirs(MODELS[layout], config()).float()
    if layout == "paligemma":
        for gain in (p for n, p in reference.model.language_model.named_parameters() if n.endswith("norm.weight")):
            gain -= 1  # theirs adds one: around what a trained model has
    silent(lambda: reference.save_pretrained(tmp_path / "theirs"))
    (tmp_path / "theirs" / "preprocessor_config.json").write_text(json.dumps(STATISTICS))
    convert(tmp_path / "theirs", tmp_path / "ours")
    done = convert(tmp_path / "ours", tmp_path / "back")
    assert (done.layout, done.written, done.notes) == (layout, True, ())
    back = again(tmp_path / "back", layout)
    assert back.config.image_token_index == PICTURE
    for key in ("pad_token_id", "bos_token_id", "eos_token_id"):
        assert getattr(back.config.text_config, key) == getattr(reference.config.text_config, key)
    shown = pictures(16, 16)[1][:2].float()
    for side in ("left", "right"):
        rows = rows_of(layout, side, patches)
        want = scores(reference, layout, rows, shown)
        assert apart(scores(back, layout, rows, shown), want) < 1e-5 * max(1.0, want.abs().max().item())
    said = json.loads((tmp_path / "back" / "preprocessor_config.json").read_text())
    assert {key: said[key] for key in STATISTICS} == STATISTICS


def made(layout: str, **trunk: Any) -> ModelConfig:
    """A model by its settings alone, as the readers lay it out."""
    sizes: dict[str, Any] = {"dim": SHAPE["hidden_size"], "depth": 2}
    table = TextTowerConfig(dim=SHAPE["hidden_size"], depth=0, vocab_size=33, attention=None, ffn=None)
    image = ImageTowerConfig(
        dim=20,
        depth=2,
        image_size=(16, 16),
        patch_size=(8, 8),
        position=LearnedPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=4),
    )
    own = SoftmaxAttentionConfig(num_heads=4, num_kv_heads=2, causal=True, bias=False, out_bias=False)
    blocks: dict[str, Any] = {"position": RotaryPositionConfig(), "attention": own, "norm": RMSNormConfig(eps=1e-5)}
    if layout == "llava":
        image = image.replace(cls_token=True, gives_cls=False, patch_bias=False, entry_norm=True, final_norm=False)
        ffn: Any = SwiGLUConfig(hidden_dim=40, bias=False)
        return ModelConfig(
            towers={"before": table.replace(shares="text"), "image": image, "text": table},
            fusion=JointFusionConfig(projector="mlp", as_is=("before",)),
            trunk=StackConfig(**(sizes | blocks | {"ffn": ffn} | trunk)),
            heads={"text": LanguageHeadConfig(tied=False)},
        )
    table = table.replace(embed_scale=True)
    ffn: Any = GLUConfig(hidden_dim=40, activation="gelu_tanh", bias=False)
    return ModelConfig(
        towers={"image": image, "question": table.replace(shares="text", vocab_size=None), "text": table},
        fusion=PrefixFusionConfig(projector="linear", as_is=("question",), opens=True),
        trunk=StackConfig(**(sizes | blocks | {"ffn": ffn} | trunk)),
        heads={"text": LanguageHeadConfig()},
    )


LINEAR = {"position": RotaryPositionConfig(theta=500.0, scaling=LinearRotaryScalingConfig(factor=2.0))}
MADE: dict[str, tuple[str, dict[str, Any]]] = {
    "llava": ("llava", {}),
    "llava, other angles": ("llava", LINEAR),
    "paligemma": ("paligemma", {}),
    "paligemma, other angles": ("paligemma", LINEAR),
}


def renamed(rows: Rows, token: int) -> Rows:
    """The same with another placeholder, and with the end of a text as padding."""
    ids = rows.ids.where(rows.mask.bool(), 2)
    rows.ids = ids.where(ids != PICTURE, token)
    return rows


@pytest.mark.parametrize("name", MADE)
@torch.no_grad()
def test_a_model_of_ours_says_the_same_there(name: str, tmp_path: Path) -> None:
    layout, trunk = MADE[name]
    config = made(layout, **trunk)
    model: Model = config.build()
    randomise(model, torch.Generator().manual_seed(3))
    model.eval()
    (tmp_path / "ours").mkdir()
    save_weights(model, tmp_path / "ours" / WEIGHTS)
    (tmp_path / "ours" / SETTINGS).write_text(json.dumps({"format": FORMAT, "model": config.to_dict()}))
    done = convert(tmp_path / "ours", tmp_path / "theirs")
    token = 0 if layout == "llava" else 33
    assert (done.layout, len(done.notes)) == (layout, 1)
    assert f"`<image>` is id {token}" in done.notes[0]
    there = again(tmp_path / "theirs", layout)
    assert (there.config.image_token_index, there.config.text_config.eos_token_id) == (token, 2)
    pixels = pictures(16, 16)[0][:2].float()
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.5,) * 3, (0.5,) * 3))
    others: dict[str, Sequence[list[int]]] = {"before": BEFORE} if layout == "llava" else {"question": ASKED}
    for side in ("left", "right"):
        want = scores(there, layout, renamed(rows_of(layout, side), token), (pixels - mean) / std)
        for own in ("left", "right"):
            given = text(SAID, own)
            assert given.valid is not None
            read = {name: text(rows, side) for name, rows in others.items()}
            got = model({"image": pixels, **read, "text": given}).heads["text"][given.valid]
            assert apart(got, want) < 1e-5 * max(1.0, want.abs().max().item())
    convert(tmp_path / "theirs", tmp_path / "again")
    once = create_model(tmp_path / "again").state_dict()
    assert all(apart(once[key], tensor) < 1e-6 for key, tensor in model.state_dict().items())


def test_tokens_stand_in_the_order_of_the_towers() -> None:
    config = made("llava")
    turned = config.replace(towers={name: config.towers[name] for name in ("image", "before", "text")})
    assert "towers are image, before, text, and have to be before, image, text" in refusal("llava", turned)
    less = config.replace(
        towers={name: config.towers[name] for name in ("image", "text")}, fusion=JointFusionConfig(projector="mlp")
    )
    assert "towers are image, text, and have to be before, image, text" in refusal("llava", less)


def refusal(layout: str, config: ModelConfig) -> str:
    """What is said of a model that has these settings and weights to them."""
    with pytest.raises(UserError, match=f"cannot be written in the layout {layout}") as error:
        LAYOUTS[layout].write(config, dict(untied(config.build())))
    assert str(error.value).count("\n") == 0
    return str(error.value)


@pytest.mark.parametrize("layout", MODELS)
def test_what_theirs_cannot_say_is_refused_by_its_path(layout: str) -> None:
    config = made(layout)
    image, trunk = config.towers["image"], config.trunk
    assert isinstance(image, ImageTowerConfig)
    assert trunk is not None
    assert trunk.attention is not None
    others = {
        "towers.image.image_size is [16, 24]": {
            "towers": config.towers | {"image": image.replace(image_size=(16, 24))}
        },
        "lacks towers.image.residual.layer_scale": {
            "towers": config.towers | {"image": image.replace(residual=image.residual.replace(layer_scale=0.1))}
        },
        "lacks fusion.projector": {"fusion": config.fusion.replace(projector=None) if config.fusion else None},
        "trunk.norm is layernorm, and has to be rmsnorm": {"trunk": trunk.replace(norm=image.norm)},
        "trunk.ffn.kind": {"trunk": trunk.replace(ffn=StandardFeedForwardConfig(hidden_dim=40, bias=False))},
        "lacks trunk.final_norm": {"trunk": trunk.replace(final_norm=False)},
        "trunk.position is none, and has to be rotary": {"trunk": trunk.replace(position=NoPositionConfig())},
        "lacks heads.text.bias": {"heads": {"text": config.heads["text"].replace(bias=True)}},
    }
    for message, change in others.items():
        assert message in refusal(layout, config.replace(**change))


def test_a_picture_is_read_after_a_block() -> None:
    config = made("llava")
    none = config.towers | {"image": config.towers["image"].replace(depth=0)}
    assert "towers.image.depth is 0: theirs has a block at least" in refusal("llava", config.replace(towers=none))


def test_a_window_is_written_of_llava_alone() -> None:
    for layout in MODELS:
        trunk = made(layout).trunk
        assert trunk is not None
        assert trunk.attention is not None
        config = made(layout, attention=trunk.attention.replace(window=3))
        if layout == "llava":
            words = LAYOUTS[layout].write(config, dict(untied(config.build()))).files["config.json"]["text_config"]
            assert (words["model_type"], words["sliding_window"]) == ("mistral", 3)
        else:
            assert "lacks trunk.attention.window" in refusal(layout, config)
