"""What LLaVA and PaliGemma share: a picture's tokens in the middle of a decoder's, which one table of words serves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from torch import Tensor

from patchword.config import (
    ImageTowerConfig,
    LanguageHeadConfig,
    ModelConfig,
    StackConfig,
    TextTowerConfig,
    UserError,
)
from patchword.models.convert.clip import CLIP_BLOCK
from patchword.models.convert.defaults import completed
from patchword.models.convert.gpt2 import tied_names_of
from patchword.models.convert.keymap import Entry, linear, linears
from patchword.models.convert.layout import Layout, Written
from patchword.models.convert.parts import SPECIALS, has_all, part_of, vision_settings
from patchword.models.convert.settings import Settings
from patchword.models.convert.two_towers import TOKENS
from patchword.models.convert.vit import patch_map, pictures_file

_ENDS = ("bos_token_id", "eos_token_id")
VISION, DECODER, IMAGE = "vision_tower", "language_model", "towers.image"


class PicturedLayout(Layout):
    """The picture's tower, text towers without blocks that share one table, and a trunk that reads all in turn."""

    writes = True
    renames = (
        (r"^model\.", ""),
        (r"^language_model\.lm_head\.", "lm_head."),
        (r"^language_model\.model\.", "language_model."),
        (r"^vision_tower\.vision_model\.", "vision_tower."),
    )
    """Names of transformers 4.x, of files, and of 5.x."""
    written_as = (
        (r"^language_model\.", "language_model.model."),
        (r"^lm_head\.", "language_model.lm_head."),
        (r"^vision_tower\.", "vision_tower.vision_model."),
    )
    ignored = (r"vision_tower\.embeddings\.position_ids", r"language_model\..*rotary_emb\.inv_freq")
    towers: ClassVar[tuple[str, ...]]
    """Our towers, in the order of their tokens."""
    model: ClassVar[str]
    """Their class."""
    processor: ClassVar[str]
    """Their class that prepares pictures."""

    @abstractmethod
    def words(self, settings: Settings) -> Settings:
        """Their complete settings of the decoder."""

    @abstractmethod
    def described(self, image: ImageTowerConfig, text: TextTowerConfig, trunk: StackConfig) -> dict[str, Any]:
        """Their `config.json` of these parts, but for what all such files have."""

    @abstractmethod
    def placeholder(self, text: TextTowerConfig) -> tuple[int, str]:
        """The id that stands for a picture's tokens where no file has said, and what a user has to know of it."""

    def ignores(self, config: ModelConfig) -> tuple[str, ...]:
        """The head's map where it is the table."""
        return tied_names_of(config)

    def kept(self, settings: Settings) -> dict[str, Any]:
        """The id of a picture's tokens, and which tokens begin, end and fill a text."""
        whole, words = completed(settings, self.name), self.words(settings)
        token = whole.data.get("image_token_id", whole.data["image_token_index"])
        return {"image_token_index": token, "text_config": {name: words.data.get(name) for name in TOKENS}}

    def settings(self, config: ModelConfig) -> dict[str, dict[str, Any]]:
        """`config.json` and `preprocessor_config.json`.

        Raises:
            UserError: what they have no setting for, by our path.
        """
        if tuple(config.towers) != self.towers:
            names = ", ".join(self.towers)
            raise UserError(
                f"towers are {', '.join(config.towers)}, and have to be {names}: tokens stand in this order"
            )
        image = part_of(config.towers, "towers", "image", ImageTowerConfig)
        text = part_of(config.towers, "towers", "text", TextTowerConfig)
        head = part_of(config.heads, "heads", "text", LanguageHeadConfig)
        if config.trunk is None:
            raise UserError("trunk is null: theirs has a decoder's blocks")
        own = self.described(image, text, config.trunk)
        words = {"vocab_size": text.vocab_size, "max_position_embeddings": text.max_len}
        words |= {"tie_word_embeddings": head.tied, **{name: SPECIALS[name] for name in _ENDS}}
        data: dict[str, Any] = {
            "model_type": self.name,
            "architectures": [self.model],
            "image_token_index": self.placeholder(text)[0],
            "tie_word_embeddings": head.tied,
            **own,
            "text_config": own["text_config"] | words,
            "vision_config": vision_settings(image) | own["vision_config"],
        }
        pictures = pictures_file(image, self.processor) | {"do_center_crop": False}
        files = {"config.json": data, "preprocessor_config.json": pictures}
        has_all(config, self.config(self.facts(files), {}))
        return files

    def write(
        self, config: ModelConfig, weights: Mapping[str, Tensor], kept: Mapping[str, Any] | None = None
    ) -> Written:
        """As any; where it was not read in this layout, who uses it is told which id stands for a picture's tokens."""
        written = super().write(config, weights, kept)
        if kept is not None:
            return written
        text = part_of(config.towers, "towers", "text", TextTowerConfig)
        return written._replace(notes=(self.placeholder(text)[1],))


def table_of(text: TextTowerConfig, scaled: bool = False) -> TextTowerConfig:
    """A decoder's table of words alone."""
    return TextTowerConfig(
        dim=text.dim,
        depth=0,
        vocab_size=text.vocab_size,
        max_len=text.max_len,
        embed_scale=scaled,
        attention=None,
        ffn=None,
    )


def sharing(table: TextTowerConfig) -> TextTowerConfig:
    """Another tower with the table of the tower `text`."""
    return table.replace(shares="text", vocab_size=None)


def table_name(first: str) -> str:
    """What that table is called in a model: by the first tower that has it."""
    return f"towers.{first}.embedding.table.weight"


def trunk_of(text: TextTowerConfig) -> StackConfig:
    """A decoder's blocks alone."""
    return StackConfig(
        dim=text.dim,
        depth=text.depth,
        position=text.position,
        attention=text.attention,
        ffn=text.ffn,
        norm=text.norm,
    )


def vision_entries(image: ImageTowerConfig) -> Iterator[Entry]:
    """Patches, places and blocks of CLIP's or SigLIP's picture tower."""
    yield from patch_map(f"{VISION}.embeddings.patch_embedding", image)
    yield from linear(f"{VISION}.embeddings.position_embedding", f"{IMAGE}.stack.position.table", bias=False)
    for i in range(image.depth):
        yield from linears(CLIP_BLOCK, f"{VISION}.encoder.layers.{i}", f"{IMAGE}.stack.blocks.{i}")
