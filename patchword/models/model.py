"""The one model: towers -> fusion -> trunk -> heads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from patchword.cache import StackCache
from patchword.config import (
    LanguageHeadConfig,
    ModelConfig,
    PatchHeadConfig,
    SimilarityHeadConfig,
    TextTowerConfig,
    TokenHeadConfig,
    UserError,
    implements,
    unknown,
)
from patchword.config.speaking import only_speaker, said_tower, speaking_problems
from patchword.models.inputs import inputs_from
from patchword.models.output import ModelOutput
from patchword.models.tower import ImageTower, TextTower, Tower
from patchword.nn import Stack
from patchword.nn.fusion import Fused, ReaderFusion
from patchword.nn.init import initialise
from patchword.nn.positions import Places
from patchword.sequence import SequenceInfo, Tokens


class DecodeState:
    """What step-by-step decoding holds: what was read once, and the caches of what continues.

    Args:
        parts: tokens of the towers that were read once, by name.
        tower: the text tower whose tokens are said.
        reader: what that tower remembers.
        trunk: what the trunk remembers; None: the tower's tokens are read off as they are.
    """

    def __init__(self, parts: dict[str, Tokens], tower: str, reader: StackCache, trunk: StackCache | None) -> None:
        self.parts, self.tower, self.reader, self.trunk = parts, tower, reader, trunk
        self.memory: Tokens | None = None
        self.kept: Tensor | None = None
        self.started = False

    def select(self, rows: Tensor) -> None:
        """Keep (and repeat) these rows of the batch; int [new B]. The memory is shared by the beams of a sample."""
        self.reader.select(rows)
        if self.trunk is not None:
            self.trunk.select(rows)


@implements(ModelConfig)
class Model(nn.Module):
    """Any topology of the family, as its configuration says.

        image ─► tower ─┐
                        ├─► fusion ─► trunk ─► head(s)
        text  ─► tower ─┘

    Any subset of the towers may be without input: its tower then gives no tokens, and its weights no gradient but zero.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config = config.with_vocabularies(lambda _: None)
        self.towers = nn.ModuleDict({name: tower.build() for name, tower in config.towers.items()})
        for name, tower in config.towers.items():
            if isinstance(tower, TextTowerConfig) and tower.shares is not None:
                owner = cast(TextTower, self.towers[tower.shares])
                cast(TextTower, self.towers[name]).embedding.table = owner.embedding.table
        dims = {name: tower.dim for name, tower in config.towers.items()}
        self.fusion, self.trunk = None, None
        if config.fusion is not None:
            dim = config.trunk.dim if config.trunk is not None else next(iter(dims.values()))
            self.fusion = config.fusion.build(dims, dim)
            places = {name: cast(Tower, tower).embedding.places for name, tower in self.towers.items()}
            self.trunk = Stack(config.trunk, Places(parts=places), dim) if config.trunk is not None else None
        self.heads = nn.ModuleDict({name: self._head(name) for name in config.heads})
        initialise(self, config.init, config.embed_std)

    def _head(self, name: str) -> nn.Module:
        head = self.config.heads[name]
        if not isinstance(head, TokenHeadConfig):
            return head.build()
        dim = self.config.source_dim(head)
        if isinstance(head, LanguageHeadConfig):
            vocab_size = cast(TextTowerConfig, self.config.towers[head.text]).vocab_size
            return head.build(dim, cast(TextTower, self.towers[head.text]).embedding.table, vocab_size)
        if isinstance(head, PatchHeadConfig):
            return head.build(dim, cast(ImageTower, self.towers[head.source]).embedding.numbers)
        return head.build(dim)

    def forward(
        self,
        inputs: Mapping[str, Any] | None = None,
        heads: Collection[str] | None = None,
        *,
        text_inputs: Tensor | None = None,
        text_attention_mask: Tensor | None = None,
        image_features: Tensor | None = None,
        image_attention_mask: Tensor | None = None,
    ) -> ModelOutput:
        """Inputs by tower name (`TextInput`, `ImageInput`, `FeaturesInput`, or a bare tensor).

        Args:
            inputs: what each tower reads; a tower that is not named has no input.
            heads: which heads to read off; None: all.
            text_inputs: this and those that follow stand in place of `inputs`, for towers `text` and `image` (of kind
                features): the words of system 003. See `patchword.inputs_from`.
            text_attention_mask: which of these tokens are real.
            image_features: vectors of pictures.
            image_attention_mask: which of these are real.

        Raises:
            ValueError: an input for a tower that does not exist, no input at all, or inputs in both ways.
        """
        words = (text_inputs, text_attention_mask, image_features, image_attention_mask)
        if inputs is None:
            inputs = inputs_from(*words)
        elif any(word is not None for word in words):
            raise ValueError("inputs are given by tower's name or by text_inputs, image_features, ...: not both")
        parts = self.encode(inputs)
        if self.fusion is None:
            return self._read(None, parts, heads)
        fused = self.fusion(parts)
        return self._read(self._continue(fused, None), parts, heads)

    def encode(self, inputs: Mapping[str, Any], skip: str | None = None, rows: int | None = None) -> dict[str, Tokens]:
        """Every tower's tokens, but that of `skip`; `rows` is needed where there is no input at all."""
        for name in inputs:
            if name not in self.towers:
                raise ValueError(unknown("tower", name, self.towers))
        batch = _tensor(next(iter(inputs.values()))).shape[0] if inputs else rows
        if batch is None:
            raise ValueError(f"no input: give at least one of {', '.join(self.towers)}")
        parts = {}
        for name, tower in self.towers.items():
            if name != skip:
                parts[name] = tower(inputs[name] if name in inputs else cast(Tower, tower).embedding.empty(batch))
        return parts

    def _continue(self, fused: Fused, cache: StackCache | None) -> Tokens:
        tokens = fused.tokens
        x = tokens.x if self.trunk is None else self.trunk(tokens, fused.memory, cache)
        valid = None if tokens.info.valid is None else tokens.info.valid[:, fused.start :]
        return Tokens(x[:, fused.start :], SequenceInfo(valid=valid))

    def _read(self, trunk: Tokens | None, parts: dict[str, Tokens], heads: Collection[str] | None) -> ModelOutput:
        found: dict[str, Tensor] = {}
        wanted = self.heads if heads is None else heads
        return ModelOutput(trunk, parts, {name: self._read_head(name, trunk, parts, found) for name in wanted})

    def _read_head(self, name: str, trunk: Tokens | None, parts: dict[str, Tokens], found: dict[str, Tensor]) -> Tensor:
        """What one head gives, and the heads that it compares, each read once."""
        if name not in found:
            head = self.config.heads[name]
            if isinstance(head, SimilarityHeadConfig):
                found[name] = self.heads[name](
                    self._read_head(head.rows, trunk, parts, found), self._read_head(head.columns, trunk, parts, found)
                )
            else:
                source = cast(TokenHeadConfig, head).source
                found[name] = self.heads[name](trunk if source == "trunk" else parts[source])
        return found[name]

    # -------------------------------------------------------------- step by step

    def begin(
        self,
        inputs: Mapping[str, Any],
        max_len: int,
        static: bool = False,
        head: str | None = None,
        rows: int | None = None,
    ) -> DecodeState:
        """Read everything but the text once; at most `max_len` text tokens then follow through `step`.

        Args:
            inputs: what the other towers read; none where `head` reads its text tower alone.
            max_len: most text tokens a row.
            static: whether every step has the same shapes, so that it can be compiled and exported.
            head: the language head that says the text; None: the only one there is.
            rows: texts that are said side by side (B), needed where there is no other input.

        Raises:
            UserError: this model cannot say one word after another.
            ValueError: inputs that the head does not see, or neither inputs nor `rows`.
        """
        head = head or only_speaker(self.config) or ""
        for problem in speaking_problems(self.config, head):
            raise UserError(f"model.{problem.path}: {problem.message}")
        name = said_tower(self.config, head)
        reader = cast(Tower, self.towers[name])
        like = next(reader.parameters())
        if cast(LanguageHeadConfig, self.config.heads[head]).source == name:
            if inputs or rows is None:
                raise ValueError(f"the head {head} reads the tower {name} alone: give no other input, but rows")
            return DecodeState({}, name, reader.new_cache(rows, max_len, like, static), None)
        assert isinstance(self.fusion, ReaderFusion)
        assert self.trunk is not None
        parts = self.encode(inputs, name, rows)
        batch = _tensor(next(iter(inputs.values()))).shape[0] if inputs else rows
        assert batch is not None
        trunk = self.trunk.new_cache(batch, self.fusion.length_before(parts) + max_len, like, static)
        return DecodeState(parts, name, reader.new_cache(batch, max_len, like, static), trunk)

    def step(self, text: Any, state: DecodeState, head: str) -> Tensor:
        """Scores after the last of these text tokens; `TextInput` or ids [B, T] -> [B, V]. `state` moves on."""
        tokens = cast(Tower, self.towers[state.tower])(text, state.reader)
        if state.trunk is None:
            return self.heads[head](Tokens(tokens.x[:, -1:]))[:, 0]
        fusion = cast(ReaderFusion, self.fusion)
        if not state.started:
            fused = fusion({**state.parts, state.tower: tokens})
            state.memory, state.kept, state.started = fused.memory, fused.kept, True
        else:
            fused = Fused(fusion.following(tokens, state.kept), state.memory)
        out = self._continue(fused, state.trunk)
        return self.heads[head](Tokens(out.x[:, -1:]))[:, 0]


def _tensor(raw: Any) -> Tensor:
    return raw if isinstance(raw, Tensor) else raw[0]


def count_parameters(model: nn.Module) -> int:
    """Numbers that a model learns; tied ones count once."""
    return sum(p.numel() for p in model.parameters())


@torch.no_grad()
def tied_names(model: nn.Module) -> dict[str, str]:
    """Names of parameters that are another's under a second name: {second: first}."""
    first: dict[int, str] = {}
    tied = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in first:
            tied[name] = first[id(parameter)]
        first.setdefault(id(parameter), name)
    return tied
