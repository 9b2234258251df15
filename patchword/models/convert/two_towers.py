"""What CLIP and SigLIP share where they are written: the settings of a picture's tower and of a text's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import torch

from patchword.config import (
    Config,
    EmbeddingHeadConfig,
    ImageTowerConfig,
    LayerNormConfig,
    ModelConfig,
    SimilarityHeadConfig,
    SoftmaxAttentionConfig,
    StandardFeedForwardConfig,
    TextTowerConfig,
    TowerConfig,
    UserError,
)
from patchword.models.convert.compare import differences
from patchword.models.convert.layout import Layout
from patchword.models.convert.settings import Settings, their_activation
from patchword.models.convert.vit import pictures_file

_C = TypeVar("_C", bound=Config)
_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id")


class TwoTowersLayout(Layout):
    """Towers and heads are named `image` and `text`, and `similarity` compares them."""

    writes = True
    ignored = (r".*\.embeddings\.position_ids",)
    model: ClassVar[str]
    """Their class."""
    processor: ClassVar[str]
    """Their class that prepares pictures."""

    @abstractmethod
    def widths(self, image: EmbeddingHeadConfig, text: EmbeddingHeadConfig) -> dict[str, dict[str, Any]]:
        """Their settings of the common space, by the part of config.json ("" is the whole) that they stand in."""

    def kept(self, settings: Settings) -> dict[str, Any]:
        """Which tokens begin, end and fill a text."""
        text = settings.part("text_config")
        return {"text_config": {name: text.data[name] for name in _TOKENS if name in text}}

    def settings(self, config: ModelConfig) -> dict[str, dict[str, Any]]:
        """`config.json` and `preprocessor_config.json`.

        Raises:
            UserError: what they have no setting for, by our path.
        """
        image = part_of(config.towers, "towers", "image", ImageTowerConfig)
        text = part_of(config.towers, "towers", "text", TextTowerConfig)
        heads = [part_of(config.heads, "heads", name, EmbeddingHeadConfig) for name in ("image", "text")]
        part_of(config.heads, "heads", "similarity", SimilarityHeadConfig)
        widths = self.widths(*heads)
        of_text = {"vocab_size": text.vocab_size, "max_position_embeddings": text.max_len}
        of_image = {
            "image_size": _square(image.image_size, "towers.image.image_size"),
            "patch_size": _square(image.patch_size, "towers.image.patch_size"),
            "num_channels": image.channels,
        }
        data: dict[str, Any] = {
            "model_type": self.name,
            "architectures": [self.model],
            **widths.get("", {}),
            "text_config": stack(text, "towers.text") | of_text | widths.get("text_config", {}),
            "vision_config": stack(image, "towers.image") | of_image | widths.get("vision_config", {}),
        }
        pictures = pictures_file(image, self.processor) | {"do_center_crop": False}
        files = {"config.json": data, "preprocessor_config.json": pictures}
        self._compare(config, {key: value for own in files.values() for key, value in own.items()})
        return files

    def _compare(self, config: ModelConfig, facts: Mapping[str, Any]) -> None:
        """Settings are compared before weights are: their names say more."""
        again = self.config(Settings(facts, self.name), {"logit_scale": torch.empty(())})
        others = differences(config, again)
        if others:
            raise UserError(f"that lacks {', '.join(others)}")


def part_of(parts: Mapping[str, Any], path: str, name: str, kind: type[_C]) -> _C:
    """The part of that name.

    Raises:
        UserError: it is not there, or of another kind.
    """
    if name not in parts:
        raise UserError(f"{path} has to have {name}, and has {', '.join(parts) or 'none'}")
    return of_kind(parts[name], f"{path}.{name}", kind)


def of_kind(value: Config | None, path: str, kind: type[_C]) -> _C:
    """The same.

    Raises:
        UserError: it is of another kind.
    """
    if not isinstance(value, kind):
        found = "null" if value is None else value.kind
        raise UserError(f"{path} is {found}, and has to be {kind.kind}")
    return value


def stack(config: TowerConfig, path: str) -> dict[str, Any]:
    """Their settings of the blocks of either tower."""
    ffn = of_kind(config.ffn, f"{path}.ffn", StandardFeedForwardConfig)
    return {
        "hidden_size": config.dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": of_kind(config.attention, f"{path}.attention", SoftmaxAttentionConfig).num_heads,
        "intermediate_size": ffn.hidden_dim or 4 * config.dim,
        "hidden_act": their_activation(ffn.activation),
        "layer_norm_eps": of_kind(config.norm, f"{path}.norm", LayerNormConfig).eps,
    }


def _square(sides: tuple[int, int], path: str) -> int:
    if sides[0] != sides[1]:
        raise UserError(f"{path} is {list(sides)}: theirs are square")
    return sides[0]
