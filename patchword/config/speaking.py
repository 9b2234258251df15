"""Which models can say one word after another, and through which tower."""

from __future__ import annotations

from collections.abc import Iterator

from patchword.config.errors import Problem, unknown
from patchword.config.fusion import FusionConfig, ReaderFusionConfig
from patchword.config.heads import LanguageHeadConfig, ScoresHeadConfig, TokenHeadConfig
from patchword.config.model import ModelConfig
from patchword.config.stack import StackConfig
from patchword.config.towers import TextTowerConfig

_WHY = "text is said one word after another"
_SPEAKERS = (LanguageHeadConfig, ScoresHeadConfig)


def only_speaker(model: ModelConfig) -> str | None:
    """The one language head there is; None: there are none, or several."""
    able = [name for name, head in model.heads.items() if isinstance(head, _SPEAKERS)]
    return able[0] if len(able) == 1 else None


def said_tower(model: ModelConfig, head: str) -> str:
    """The text tower whose tokens `head` continues: the one it reads, or the one that the trunk it reads continues.

    For a model and a head of which `speaking_problems` has nothing to say.
    """
    own = model.heads[head]
    assert isinstance(own, TokenHeadConfig)
    source = own.source
    return model.fusion.reader if source == "trunk" and isinstance(model.fusion, ReaderFusionConfig) else source


def speaking_problems(model: ModelConfig, head: str) -> Iterator[Problem]:
    """Why a head cannot say one word after another; paths are those of the model. Nothing: it can.

    It can where it scores the words of a text tower that it reads, or that a trunk it reads continues, and where no
    token on that way sees a later one.
    """
    own = model.heads.get(head)
    if not isinstance(own, _SPEAKERS):
        able = [name for name, other in model.heads.items() if isinstance(other, _SPEAKERS)]
        yield Problem("heads", f"{_WHY}: {unknown('language head', head, able)}")
        return
    if own.source == "trunk":
        yield from _trunk_problems(model)
        if not isinstance(model.fusion, ReaderFusionConfig):
            return
    tower = said_tower(model, head)
    text = model.towers.get(tower)
    if not isinstance(text, TextTowerConfig):
        yield Problem(f"heads.{head}.source", f"{_WHY}: {tower} is no text tower")
        return
    if _table(model, own.text) != _table(model, tower):
        yield Problem(f"heads.{head}.text", f"{_WHY}: the head says words of {own.text}, what goes on is {tower}")
    if _sees_later(text):
        yield Problem(f"towers.{tower}.attention.causal", f"{_WHY}: the layers of the text tower must be causal")


def _trunk_problems(model: ModelConfig) -> Iterator[Problem]:
    fusion, trunk = model.fusion, model.trunk
    if trunk is None or _sees_later(trunk):
        yield Problem("trunk.attention.causal", f"{_WHY}: it needs a causal trunk")
    if fusion is not None and not fusion.continues:
        able = sorted(k for k, f in FusionConfig.kinds.items() if issubclass(f, FusionConfig) and f.continues)
        yield Problem(
            "fusion.kind",
            f"{_WHY}: {fusion.kind} fusion gives no text to continue; kinds that do: {', '.join(able)}",
        )


def _sees_later(stack: StackConfig) -> bool:
    return bool(stack.depth) and stack.attention is not None and not stack.attention.causal


def _table(model: ModelConfig, name: str) -> str:
    """The tower whose vocabulary a text tower has: its own, or that of the one it shares a table with."""
    tower = model.towers.get(name)
    return tower.shares if isinstance(tower, TextTowerConfig) and tower.shares is not None else name
