"""What CLIP and SigLIP share where they are written: the settings of a picture's tower and of a text's."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch

from patchword.config import (
    EmbeddingHeadConfig,
    ImageTowerConfig,
    ModelConfig,
    SimilarityHeadConfig,
    TextTowerConfig,
)
from patchword.models.convert.layout import Layout
from patchword.models.convert.parts import has_all, part_of, stack_settings, vision_settings
from patchword.models.convert.settings import Settings
from patchword.models.convert.vit import pictures_file

TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id")
"""Settings of which tokens fill, begin and end a text."""


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
        return tokens_of(settings.part("text_config"))

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
        data: dict[str, Any] = {
            "model_type": self.name,
            "architectures": [self.model],
            **widths.get("", {}),
            "text_config": stack_settings(text, "towers.text") | of_text | widths.get("text_config", {}),
            "vision_config": vision_settings(image) | widths.get("vision_config", {}),
        }
        pictures = pictures_file(image, self.processor) | {"do_center_crop": False}
        files = {"config.json": data, "preprocessor_config.json": pictures}
        has_all(config, self.config(self.facts(files), {"logit_scale": torch.empty(())}))
        return files


def tokens_of(text: Settings) -> dict[str, Any]:
    """Which tokens begin, end and fill a text, as `text_config` says."""
    return {"text_config": {name: text.data[name] for name in TOKENS if name in text}}
