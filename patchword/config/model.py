"""Choices for a whole model: towers, fusion, trunk, heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from patchword.config.core import Config
from patchword.config.errors import Problem, unknown
from patchword.config.fusion import FusionConfig, LookingFusionConfig, ReaderFusionConfig, under
from patchword.config.heads import (
    EmbeddingHeadConfig,
    HeadConfig,
    LanguageHeadConfig,
    ScoresHeadConfig,
    SimilarityHeadConfig,
    TokenHeadConfig,
)
from patchword.config.names import name_problems
from patchword.config.numbers import PositiveFloat
from patchword.config.parts import InitConfig, NormalInitConfig
from patchword.config.pooling import PoolConfig
from patchword.config.positions import PerModalityPositionConfig
from patchword.config.stack import StackConfig
from patchword.config.towers import TextTowerConfig, TowerConfig


class ModelConfig(Config):
    """Towers, how they meet, the trunk that reads the result, and the heads."""

    shorthand = "towers"

    towers: dict[str, TowerConfig]
    """One a modality, by name."""
    fusion: FusionConfig | None = None
    """How the towers' tokens meet; null: they do not."""
    trunk: StackConfig | None = None
    """The stack that reads the fused tokens; null: none."""
    heads: dict[str, HeadConfig]
    """What the model gives, by name."""
    init: InitConfig = NormalInitConfig()
    """How weights start."""
    embed_std: PositiveFloat | None = None
    """Standard deviation that embedding tables start with; null: as `init` says."""

    def problems(self) -> Iterator[Problem]:
        """Names that do not exist, and parts that do not fit one another."""
        if not self.towers:
            yield Problem("towers", "is empty: a model needs at least one tower")
            return
        if "trunk" in self.towers:
            yield Problem("towers.trunk", "is what heads call the trunk: choose another name")
            return
        yield from name_problems("towers", self.towers)
        yield from name_problems("heads", self.heads)
        yield from self._fusion_problems()
        for name, tower in self.towers.items():
            for path, _ in tower.modalities():
                yield Problem(
                    f"towers.{name}.{path}", "a tower has one modality: only a trunk can have parts for several"
                )
            yield from self._sharing_problems(name, tower)
        for name, head in self.heads.items():
            yield from self._head_problems(name, head)

    def _sharing_problems(self, name: str, tower: TowerConfig) -> Iterator[Problem]:
        if not isinstance(tower, TextTowerConfig) or tower.shares is None:
            return
        owners = {n: t for n, t in self.towers.items() if isinstance(t, TextTowerConfig) and t.shares is None}
        owner, where = owners.get(tower.shares), f"towers.{name}.shares"
        if owner is None:
            yield Problem(where, unknown("text tower with a table of its own", tower.shares, owners))
        elif owner.dim != tower.dim or tower.vocab_size not in (None, owner.vocab_size):
            yield Problem(
                where,
                f"the table of {tower.shares} is {owner.vocab_size} x {owner.dim} (vocab_size x dim), "
                f"this tower's would be {tower.vocab_size} x {tower.dim}",
            )

    def _fusion_problems(self) -> Iterator[Problem]:
        fusion, trunk = self.fusion, self.trunk
        if isinstance(fusion, ReaderFusionConfig) and fusion.reader not in self.towers:
            yield Problem("fusion.reader", unknown("tower", fusion.reader, self.towers))
            return
        if trunk is not None and fusion is None:
            yield Problem("trunk", f"has nothing to read: choose a fusion ({', '.join(sorted(FusionConfig.kinds))})")
        looks = trunk is not None and trunk.cross_attention is not None
        if fusion is not None and fusion.gives_memory and not looks:
            yield Problem(
                "trunk.cross_attention",
                f"is needed by {fusion.kind} fusion: the trunk has no way to look at the other towers",
            )
        if looks and fusion is not None and not fusion.gives_memory:
            yield Problem(
                "trunk.cross_attention",
                f"has nothing to look at: {fusion.kind} fusion gives no memory (cross fusion does)",
            )
        if fusion is not None:
            widths = {name: tower.dim for name, tower in self.towers.items()}
            yield from under("fusion", fusion.misfits(widths, self.fused_dim))
        if fusion is not None and trunk is not None:
            yield from self._trunk_problems(fusion, trunk)

    def _trunk_problems(self, fusion: FusionConfig, trunk: StackConfig) -> Iterator[Problem]:
        if not fusion.continues and trunk.attention is not None and trunk.attention.causal:
            yield Problem(
                "trunk.attention.causal",
                f"after {fusion.kind} fusion every token has met all others already: a causal trunk hides nothing",
            )
        for path, names in trunk.modalities():
            if not fusion.joins:
                yield Problem(f"trunk.{path}", f"{fusion.kind} fusion gives no sequence of several modalities")
            elif list(names) != list(self.towers):
                yield Problem(f"trunk.{path}", f"should name the towers in their order, {', '.join(self.towers)}")
        summary = fusion.summary if isinstance(fusion, LookingFusionConfig) else None
        if summary is not None and isinstance(trunk.position, PerModalityPositionConfig):
            yield Problem("trunk.position.kind", "a summary (fusion.summary) has no places of its tower's kind")
        if isinstance(fusion, ReaderFusionConfig) and self.towers[fusion.reader].dim != trunk.dim:
            yield Problem(
                "trunk.dim",
                f"{trunk.dim} differs from that of the tower it continues "
                f"({fusion.reader}: {self.towers[fusion.reader].dim})",
            )

    def _head_problems(self, name: str, head: HeadConfig) -> Iterator[Problem]:
        where = f"heads.{name}"
        if isinstance(head, SimilarityHeadConfig):
            yield from self._similarity_problems(where, head)
        if not isinstance(head, TokenHeadConfig):
            return
        if head.source not in self._sources:
            yield Problem(f"{where}.source", unknown("source", head.source, self._sources))
            return
        dim = self.source_dim(head)
        if isinstance(head, LanguageHeadConfig):
            texts = {n: t for n, t in self.towers.items() if isinstance(t, TextTowerConfig)}
            if head.text not in texts:
                yield Problem(f"{where}.text", unknown("text tower", head.text, texts))
            elif head.tied and texts[head.text].dim != dim:
                yield Problem(
                    f"{where}.tied",
                    f"the table of {head.text} is {texts[head.text].dim} wide, its tokens {dim}",
                )
            elif head.tied and (own := texts.get(texts[head.text].shares or head.text)) and own.min_rows is not None:
                message = f"a tied map scores every row of the table of {head.text}, also those that nothing says"
                yield Problem(f"{where}.tied", f"{message} (min_rows {own.min_rows}): set tied to false")
        if isinstance(head, ScoresHeadConfig):
            text = self.towers.get(head.text)
            if isinstance(text, TextTowerConfig) and text.vocab_size not in (None, dim):
                message = f"{dim} differs from vocab_size {text.vocab_size}: its tokens are scores of that vocabulary"
                yield Problem(f"towers.{head.source}.dim", message)
        pool: PoolConfig | None = getattr(head, "pool", None)
        if pool is not None:
            yield from under(f"{where}.pool", pool.misfits(dim))

    def _similarity_problems(self, where: str, head: SimilarityHeadConfig) -> Iterator[Problem]:
        known = {name: other for name, other in self.heads.items() if isinstance(other, EmbeddingHeadConfig)}
        for side in ("rows", "columns"):
            if getattr(head, side) not in known:
                yield Problem(f"{where}.{side}", unknown("embedding head", getattr(head, side), known))
        if head.rows in known and head.columns in known:
            rows, columns = (self.embedding_dim(known[name]) for name in (head.rows, head.columns))
            if None not in (rows, columns) and rows != columns:
                message = f"vectors of {head.rows} are {rows} wide, those of {head.columns} {columns}"
                yield Problem(f"{where}.columns", message)

    def with_vocabularies(self, size_of: Callable[[str], int | None]) -> ModelConfig:
        """The same with the sizes of vocabularies filled in where they are null.

        Args:
            size_of: asked for the size of a text tower with a table of its own; those that share it have its size.
        """
        texts = {name: tower for name, tower in self.towers.items() if isinstance(tower, TextTowerConfig)}
        sizes = {n: t.vocab_size or size_of(n) for n, t in texts.items() if t.shares is None}
        filled = {name: tower.replace(vocab_size=sizes[tower.shares or name]) for name, tower in texts.items()}
        return self.replace(towers=dict(self.towers) | filled)

    @property
    def fused_dim(self) -> int:
        """Width of the tokens that a fusion gives: the trunk's, or without one that of the first tower."""
        return self.trunk.dim if self.trunk is not None else next(iter(self.towers.values())).dim

    def embedding_dim(self, head: EmbeddingHeadConfig) -> int | None:
        """Width of the vectors of a head; None: it reads what there is not."""
        if head.out_dim is not None or head.source not in self._sources:
            return head.out_dim
        return self.source_dim(head)

    @property
    def _sources(self) -> list[str]:
        """What heads can read."""
        return [*self.towers, *(["trunk"] if self.trunk is not None else [])]

    def source_dim(self, head: TokenHeadConfig) -> int:
        """Width of the tokens that a head reads."""
        if head.source == "trunk":
            assert self.trunk is not None
            return self.trunk.dim
        return self.towers[head.source].dim
