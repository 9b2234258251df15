"""Choices of how the towers' tokens meet: what all have in common, and those in which the trunk continues a tower."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from patchword.config.core import Config
from patchword.config.errors import Problem, unknown
from patchword.config.numbers import Positive
from patchword.config.pooling import MeanPoolConfig, PoolConfig


class FusionConfig(Config, family="fusion"):
    """How the towers' tokens meet."""

    continues: ClassVar[bool] = False
    """Whether the trunk continues one tower's tokens, its `reader`, none of which has met a later one: a causal trunk
    may then say one after another."""
    joins: ClassVar[bool] = False
    """Whether the trunk reads the tokens of all towers in one sequence, and knows which is whose."""
    gives_memory: ClassVar[bool] = False
    """Whether the trunk gets a memory, to look at through cross-attention."""

    def misfits(self, widths: Mapping[str, int], dim: int) -> Iterator[Problem]:
        """What does not go with towers of these widths, by name, and a trunk of width `dim`."""
        yield from ()


class MappedFusionConfig(FusionConfig):
    """Towers are mapped to the trunk's width first."""

    projector: Literal["linear", "mlp"] | None = None
    """Map from each tower's width to the trunk's, but for a tower that the trunk continues; null: linear where the
    widths differ, else nothing."""


# ------------------------------------------------------------------ the trunk continues one tower


class ReaderFusionConfig(MappedFusionConfig):
    """The trunk continues one tower's tokens; the others are what it reads."""

    continues = True

    reader: str = "text"
    """The tower whose tokens the trunk continues."""
    as_is: tuple[str, ...] = ()
    """Other towers that are not mapped, whatever `projector` says: their width is the trunk's."""

    def misfits(self, widths: Mapping[str, int], dim: int) -> Iterator[Problem]:
        """Towers to be left as they are that do not exist, or are of another width."""
        others = {name: width for name, width in widths.items() if name != self.reader}
        for name in self.as_is:
            if name not in others:
                yield Problem("as_is", unknown("tower beside the reader", name, others))
            elif others[name] != dim:
                yield Problem("as_is", f"{name} is {others[name]} wide, the trunk {dim}: it has to be mapped")


class SummaryConfig(Config):
    """A few learned queries look at a sequence, and what they find stands for it from then on."""

    num_queries: Positive = 8
    """How many (Q)."""
    num_heads: Positive = 4
    """Heads of that attention."""


class LookingFusionConfig(ReaderFusionConfig):
    """The trunk looks at the other towers' tokens."""

    summary: SummaryConfig | None = None
    """What each other tower's tokens are pooled to first (late fusion); null: they are looked at as they are."""

    def misfits(self, widths: Mapping[str, int], dim: int) -> Iterator[Problem]:
        """Also heads of the summary that do not divide the width."""
        yield from super().misfits(widths, dim)
        if self.summary is not None and dim % self.summary.num_heads:
            yield Problem("summary.num_heads", f"dim {dim} is not divisible by num_heads {self.summary.num_heads}")


class CrossFusionConfig(LookingFusionConfig, kind="cross"):
    """The trunk reads the other towers as a memory, through its cross-attention."""

    gives_memory = True


class PrefixFusionConfig(LookingFusionConfig, kind="prefix"):
    """The other towers' tokens stand before the reader's and see one another, also in a causal trunk."""

    joins = True

    opens: bool = False
    """Whether the reader's first token belongs to the prefix, too: all of it sees that token (PaliGemma, whose prompts
    end with the token after which the answer begins)."""


class JointFusionConfig(LookingFusionConfig, kind="joint"):
    """All tokens in one sequence, the reader's last; in a causal trunk each sees only what stands before it."""

    joins = True


class FilmFusionConfig(ReaderFusionConfig, kind="film"):
    """The others' pooled vectors scale and shift each of the reader's tokens (Perez et al. 2018)."""

    pool: PoolConfig = MeanPoolConfig()
    """How each other tower becomes one vector."""

    def misfits(self, widths: Mapping[str, int], dim: int) -> Iterator[Problem]:
        """Also poolings that do not go with the width."""
        yield from super().misfits(widths, dim)
        yield from under("pool", self.pool.misfits(dim))


def under(path: str, problems: Iterator[Problem]) -> Iterator[Problem]:
    """The same problems, seen from the owner of the part at `path`."""
    for problem in problems:
        yield Problem(f"{path}.{problem.path}", problem.message)
