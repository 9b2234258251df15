"""Vision transformers in Hugging Face's layout (`ViTModel`, `ViTForImageClassification`), names of 4.x and of 5.x."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from torch import Tensor

from patchword.config import (
    FirstPoolConfig,
    ImageTowerConfig,
    LabelHeadConfig,
    LayerNormConfig,
    LearnedPositionConfig,
    ModelConfig,
    SoftmaxAttentionConfig,
    StandardFeedForwardConfig,
    UserError,
)
from patchword.models.convert.defaults import completed
from patchword.models.convert.keymap import Entry, linear
from patchword.models.convert.layout import Layout
from patchword.models.convert.quirks import Patches
from patchword.models.convert.settings import Settings, their_activation
from patchword.models.convert.transforms import Unwrapped

IMAGE = "towers.image"
_QKV = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}


class ViTLayout(Layout):
    """Its picture statistics stand in `preprocessor_config.json`."""

    name = "vit"
    model_types = ("vit",)
    writes = True
    renames = (
        (r"^(?!vit\.|classifier\.)", "vit."),
        (r"^vit\.layers\.", "vit.encoder.layer."),
        (r"\.attention\.q_proj\.", ".attention.attention.query."),
        (r"\.attention\.k_proj\.", ".attention.attention.key."),
        (r"\.attention\.v_proj\.", ".attention.attention.value."),
        (r"\.attention\.o_proj\.", ".attention.output.dense."),
        (r"\.mlp\.fc1\.", ".intermediate.dense."),
        (r"\.mlp\.fc2\.", ".output.dense."),
    )
    left_out = ((r"vit\.pooler\..*", "the pooler, which no head reads"),)

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """An image tower, and a head on its cls token where there is one."""
        settings = completed(settings, "vit")
        image = image_tower(settings).replace(
            attention=SoftmaxAttentionConfig(
                num_heads=settings.number("num_attention_heads"), bias=settings.flag("qkv_bias", True)
            )
        )
        head = weights.get("classifier.weight")
        if head is None:
            return ModelConfig(towers={"image": image}, heads={})
        label = LabelHeadConfig(source="image", num_classes=len(head), pool=FirstPoolConfig())
        return ModelConfig(towers={"image": image}, heads={"label": label})

    def entries(self, config: ModelConfig, settings: Settings) -> Iterator[Entry]:
        """The key map."""
        image = cast(ImageTowerConfig, config.towers["image"])
        assert image.attention is not None
        yield Entry(("vit.embeddings.cls_token",), (f"{IMAGE}.embedding.cls",), Unwrapped(2))
        table = f"{IMAGE}.stack.position.table.weight"
        yield Entry(("vit.embeddings.position_embeddings",), (table,), Unwrapped(1))
        yield from patch_map("vit.embeddings.patch_embeddings.projection", image)
        for i in range(image.depth):
            theirs, ours = f"vit.encoder.layer.{i}", f"{IMAGE}.stack.blocks.{i}"
            yield from linear(f"{theirs}.layernorm_before", f"{ours}.self_attn.norm")
            yield from linear(f"{theirs}.layernorm_after", f"{ours}.ffn.norm")
            for name, our in _QKV.items():
                own = f"{ours}.self_attn.step.{our}"
                yield from linear(f"{theirs}.attention.attention.{name}", own, bias=image.attention.bias)
            yield from linear(f"{theirs}.attention.output.dense", f"{ours}.self_attn.step.out_proj")
            yield from linear(f"{theirs}.intermediate.dense", f"{ours}.ffn.step.up_proj")
            yield from linear(f"{theirs}.output.dense", f"{ours}.ffn.step.down_proj")
        yield from linear("vit.layernorm", f"{IMAGE}.stack.norm")
        if "label" in config.heads:
            yield from linear("classifier", "heads.label.proj")

    def settings(self, config: ModelConfig) -> dict[str, dict[str, Any]]:
        """`config.json` and `preprocessor_config.json`."""
        image = cast(ImageTowerConfig, config.towers["image"])
        own, ffn = cast(SoftmaxAttentionConfig, image.attention), cast(StandardFeedForwardConfig, image.ffn)
        data: dict[str, Any] = {
            "model_type": "vit",
            "architectures": ["ViTForImageClassification" if config.heads else "ViTModel"],
            "hidden_size": image.dim,
            "num_hidden_layers": image.depth,
            "num_attention_heads": own.num_heads,
            "intermediate_size": ffn.hidden_dim or 4 * image.dim,
            "hidden_act": their_activation(ffn.activation),
            "layer_norm_eps": cast(LayerNormConfig, image.norm).eps,
            "image_size": _short(image.image_size),
            "patch_size": _short(image.patch_size),
            "num_channels": image.channels,
            "qkv_bias": own.bias,
        }
        if config.heads:
            classes = cast(LabelHeadConfig, config.heads["label"]).num_classes or 0
            data["id2label"] = {str(i): f"LABEL_{i}" for i in range(classes)}
            data["label2id"] = {f"LABEL_{i}": i for i in range(classes)}
        return {"config.json": data, "preprocessor_config.json": pictures_file(image, "ViTImageProcessor")}


def image_tower(settings: Settings) -> ImageTowerConfig:
    """The tower that settings of a vision transformer describe, but for its attention.

    Args:
        settings: those of the picture's model, complete; picture statistics among them.
    """
    channels = settings.number("num_channels")
    return ImageTowerConfig(
        dim=settings.number("hidden_size"),
        depth=settings.number("num_hidden_layers"),
        image_size=settings.side("image_size"),
        patch_size=settings.side("patch_size"),
        channels=channels,
        cls_token=True,
        mean=_per_channel(settings, "image_mean", channels),
        std=_per_channel(settings, "image_std", channels),
        position=LearnedPositionConfig(),
        ffn=StandardFeedForwardConfig(
            hidden_dim=settings.number("intermediate_size"), activation=settings.activation("hidden_act")
        ),
        norm=LayerNormConfig(eps=settings.real("layer_norm_eps")),
    )


def pictures_file(image: ImageTowerConfig, processor: str) -> dict[str, Any]:
    """`preprocessor_config.json`: how pictures are prepared for this tower, by their class of that name."""
    height, width = image.image_size
    return {
        "image_processor_type": processor,
        "do_resize": True,
        "size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(image.mean),
        "image_std": list(image.std),
    }


def patch_map(theirs: str, image: ImageTowerConfig) -> Iterator[Entry]:
    """A convolution that is our patch map."""
    ours = f"{IMAGE}.embedding.proj"
    yield Entry((f"{theirs}.weight",), (f"{ours}.weight",), Patches(image.channels, image.patch_size))
    if image.patch_bias:
        yield Entry((f"{theirs}.bias",), (f"{ours}.bias",))


def _per_channel(settings: Settings, name: str, channels: int) -> tuple[float, ...]:
    value = settings.data.get(name)
    if value is None:
        return (0.5,) * channels
    if not isinstance(value, list | tuple) or len(value) != channels:
        raise UserError(f"{settings.source}: {name} should be {channels} numbers, got {value!r}")
    return tuple(float(v) for v in value)


def _short(sides: tuple[int, int]) -> int | list[int]:
    return sides[0] if sides[0] == sides[1] else list(sides)
