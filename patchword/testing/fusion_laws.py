"""The laws of fusions. Each is a function of a `FusionSubject` that raises `AssertionError` where it does not hold."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from patchword.config import ConfigError, ReaderFusionConfig
from patchword.nn.fusion import ReaderFusion
from patchword.sequence import SequenceInfo, Tokens
from patchword.testing.fusion_subject import DIM, VOCAB, FusionSubject, everything
from patchword.testing.subject import require


def _padded(s: FusionSubject, tokens: Tokens, before: int, amid: int, after: int) -> Tokens:
    """The same tokens among noise that is not real."""
    batch, length, width = tokens.x.shape
    half = length // 2
    pieces: list[Tensor] = []
    for noise, piece in ((before, tokens.x[:, :half]), (amid, tokens.x[:, half:]), (after, tokens.x[:, :0])):
        shape = (batch, noise, width)
        pieces += [5 * torch.randn(shape, generator=s.generator, dtype=torch.float64), piece]
    valid = [False] * before + [True] * half + [False] * amid + [True] * (length - half) + [False] * after
    pos = tokens.info.pos
    if pos is not None:
        pos = pos.new_zeros(1, len(valid), 2).index_copy(1, torch.tensor(valid).nonzero()[:, 0], pos)
    return Tokens(torch.cat(pieces, 1), SequenceInfo(valid=torch.tensor(valid).expand(batch, -1), pos=pos))


def padding_changes_nothing(s: FusionSubject) -> None:
    """Tokens that are not real, before, amid or after those that are, change nothing, in any tower."""
    parts = s.parts(2)
    want = s.contents(parts)
    for name in parts:
        for before, amid, after in ((2, 0, 0), (0, 2, 0), (0, 0, 3), (1, 2, 1)):
            got = s.contents(parts | {name: _padded(s, parts[name], before, amid, after)})
            s.same(got, want, f"padding of {name}: {before} before, {amid} amid, {after} after")


def rows_are_independent(s: FusionSubject) -> None:
    """A row gives the same alone and beside others, also where others lack towers that it has."""
    parts = s.parts(3)
    for name in [None, *parts]:
        given = dict(parts)
        if name is not None:
            lacks = torch.tensor([True, False, True])[:, None].expand(3, parts[name].x.shape[1])
            given[name] = Tokens(parts[name].x, parts[name].info._replace(valid=lacks))
        got = s.contents(given)
        for i in (0, 2):
            alone = s.contents({n: Tokens(t.x[i : i + 1], t.info) for n, t in parts.items()})
            s.same(got[i : i + 1], alone, f"row {i} of a batch in which row 1 lacks {name or 'nothing'}")


def absent_is_like_padding(s: FusionSubject) -> None:
    """A tower without tokens gives what one gives all of whose tokens are padding, whatever those hold."""
    parts = s.parts(2)
    for name, tokens in parts.items():
        none = torch.zeros(tokens.x.shape[:2], dtype=torch.bool)
        hidden = [Tokens(x, tokens.info._replace(valid=none)) for x in (tokens.x, 9 * tokens.x)]
        want = s.contents(parts | {name: s.tokens(name, 2, 0)})
        for other in hidden:
            s.same(s.contents(parts | {name: other}), want, f"{name} is padding")


def every_tower_is_heard(s: FusionSubject) -> None:
    """Any tower's tokens change the result, also where another is absent."""
    parts = s.parts(2)
    for name in parts:
        for lacks in [None, *(n for n in parts if n != name)]:
            given = parts if lacks is None else parts | {lacks: s.tokens(lacks, 2, 0)}
            held, other = s.fusion(given), s.fusion(given | {name: s.tokens(name, 2)})
            change = (everything(held) - everything(other)).abs()
            seen = change.numel() > 0 and change.max().item() > 1e-6
            require(seen or lacks == s.reader, f"{name} changes nothing" + (f" without {lacks}" if lacks else ""))


def _absences(s: FusionSubject, batch: int) -> Iterator[tuple[str, dict[str, Tokens]]]:
    """Inputs that lack any subset of the towers: no tokens, padding alone, or as chance has it in each row."""
    for count in range(len(s.widths) + 1):
        for lacking in itertools.combinations(s.widths, count):
            parts = s.parts(batch)
            for way in ("no tokens", "padding", "some rows") if lacking else ("all there",):
                given = dict(parts)
                for name in lacking:
                    x, info = parts[name]
                    real = s.chance(batch, 1) if way == "some rows" else torch.zeros(batch, 1, dtype=torch.bool)
                    padded = Tokens(x, info._replace(valid=real & s.chance(*x.shape[:2])))
                    given[name] = s.tokens(name, batch, 0) if way == "no tokens" else padded
                yield f"{way} of {', '.join(lacking) or 'nothing'}", given


def any_subset_is_finite(s: FusionSubject) -> None:
    """Whatever is absent: finite results and gradients, in training too, and no weight out of the graph."""
    for batch in (2, 0):
        for what, parts in _absences(s, batch) if batch else [("no rows", s.parts(0))]:
            given = {n: Tokens(t.x.clone().requires_grad_(), t.info) for n, t in parts.items()}
            s.fusion.zero_grad()
            s.fusion.train()
            fused = s.fusion(given)
            s.fusion.eval()
            out = everything(fused)
            require(fused.tokens.x.shape[::2] == (batch, DIM), f"shape {tuple(fused.tokens.x.shape)}: {what}")
            require(bool(out.isfinite().all()), f"not finite: {what}")
            out.square().sum().backward()
            grads = {name: p.grad for name, p in s.fusion.named_parameters()}
            for name, grad in grads.items():
                require(grad is not None and bool(grad.isfinite().all()), f"no finite gradient of {name}: {what}")
            for name, tokens in given.items():
                grad = tokens.x.grad
                require(grad is None or bool(grad.isfinite().all()), f"no finite gradient of {name}'s tokens: {what}")


def gradients_reach_every_weight(s: FusionSubject) -> None:
    """With all towers there, each weight moves the result; but for an offset of all keys, which softmax takes out."""
    s.fusion.zero_grad()
    out = everything(s.fusion(s.parts(4)))
    if not list(s.fusion.parameters()):
        return
    (out * torch.randn(out.shape, generator=s.generator, dtype=torch.float64)).sum().backward()
    for name, parameter in s.fusion.named_parameters():
        if not name.endswith("k_proj.bias"):
            moves = parameter.grad is not None and bool(parameter.grad.abs().max() > 1e-9)
            require(moves, f"{name} changes nothing")


def texts_share_a_sample(s: FusionSubject) -> None:
    """Several texts of one sample give what each gives with the sample's other tokens beside it."""
    parts = s.parts(2)
    texts = s.tokens(s.text, 6)
    got = s.contents(parts | {s.text: texts})
    spread = {n: Tokens(t.x.repeat_interleave(3, 0), t.info) for n, t in parts.items()}
    s.same(got, s.contents(spread | {s.text: texts}), "three texts a sample")
    try:
        s.contents(parts | {s.text: s.tokens(s.text, 5)})
    except ValueError:
        return
    require(s.config.gives_memory, "five texts went with two samples")


def equal_widths_are_fine(s: FusionSubject) -> None:
    """Towers that are as wide as the trunk need no map, and obey as others do."""
    equal = FusionSubject(s.config, dict.fromkeys(s.widths, DIM))
    padding_changes_nothing(equal)
    gradients_reach_every_weight(equal)


def class_facts_are_true(s: FusionSubject) -> None:
    """What the settings' class says of the result is so: `continues`, `joins`, `gives_memory`."""
    parts, config = s.parts(2), s.config
    fused = s.fusion(parts)
    require((fused.memory is not None) == config.gives_memory, "gives_memory")
    require((fused.tokens.info.modality is not None) == config.joins, "joins")
    if config.joins:
        assert fused.tokens.info.modality is not None
        require(set(fused.tokens.info.modality[0].tolist()) == set(range(len(parts))), "joins: each token is whose")
    if config.continues:
        require(isinstance(config, ReaderFusionConfig), "continues, but is not derived from ReaderFusionConfig")
        assert isinstance(s.fusion, ReaderFusion)
        require(fused.tokens.x.shape[1] == fused.start + parts[s.text].x.shape[1], "the reader's tokens are last")
        require(s.fusion.length_before(parts) == fused.start, "length_before")


def a_model_takes_it(s: FusionSubject) -> None:
    """A model with it reads any of its inputs; a causal trunk is refused where no text is continued."""
    model, inputs = s.model(), s.inputs(2)
    for count in range(1, len(inputs) + 1):
        for names in itertools.combinations(inputs, count):
            model.zero_grad()
            out = model({name: inputs[name] for name in names}).heads["label"]
            out.square().sum().backward()
            every = all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters() if p.ndim > 1)
            require(bool(out.isfinite().all()), f"not finite with {names}")
            require(every or "words" in model.heads, f"no finite gradients with {names}")
    if not s.config.continues:
        trunk = model.config.trunk
        assert trunk is not None
        assert trunk.attention is not None
        try:
            model.config.replace(trunk=trunk.replace(attention=trunk.attention.replace(causal=True)))
        except ConfigError as error:
            require("a causal trunk hides nothing" in str(error), f"the refusal should say so: {error}")
            return
        raise AssertionError("does not continue a text, and takes a causal trunk")


# ------------------------------------------------------------------ where the trunk continues a text


def later_tokens_reach_no_earlier_one(s: FusionSubject) -> None:
    """A text's token changes what it becomes itself and what follows, and nothing before; nor what is looked up."""
    parts = s.parts(2)
    x = parts[s.text].x.clone()
    x[:, 2:] = s.tokens(s.text, 2).x[:, 2:]
    a, b = s.fusion(parts), s.fusion(parts | {s.text: Tokens(x, parts[s.text].info)})
    until = a.start + 2
    memories = (None if f.memory is None else f.memory.x for f in (a, b))
    same = (("the text", a.tokens.x[:, :until], b.tokens.x[:, :until]), ("kept", a.kept, b.kept), ("memory", *memories))
    for what, before, after in same:
        if before is not None:
            torch.testing.assert_close(before, after, atol=1e-12, rtol=1e-12, msg=lambda t, w=what: f"{w}: {t}")
    require((a.tokens.x[:, until:] - b.tokens.x[:, until:]).abs().max().item() > 1e-6, "the text is not read")


@torch.no_grad()
def a_model_tells_nothing_before_it_is_read(s: FusionSubject) -> None:
    """Scores of a text's first words do not depend on its later ones."""
    model, inputs = s.model(), s.inputs(2)
    want = model(inputs).heads["words"]
    changed = inputs[s.text].clone()
    changed[:, 3:] = (changed[:, 3:] + 1) % VOCAB
    got = model(inputs | {s.text: changed}).heads["words"]
    torch.testing.assert_close(got[:, :3], want[:, :3], atol=1e-9, rtol=1e-9)
    require((got[:, 3:] - want[:, 3:]).abs().amax((1, 2)).min().item() > 1e-6, "the text is not read")


@torch.no_grad()
def cached_equals_recomputed(s: FusionSubject) -> None:
    """Step by step in any chunks gives what one pass gives, growing and static, with and without other input."""
    model, inputs = s.model(), s.inputs(2)
    ids = inputs.pop(s.text)
    for given in (inputs, {name: x[:, :, :0, :0] for name, x in inputs.items()}, dict(list(inputs.items())[:1])):
        for chunks in ((1,) * 6, (3, 1, 2)):
            for static in (False, True):
                state, end = model.begin(given, ids.shape[1], static), 0
                for n in chunks:
                    got = model.step(ids[:, end : end + n], state, "words")
                    end += n
                    want = model(given | {s.text: ids[:, :end]}).heads["words"][:, -1]
                    torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)


@torch.no_grad()
def beams_share_a_sample(s: FusionSubject) -> None:
    """Rows that are chosen go on as if they had been alone, each with its sample's other input."""
    model, inputs = s.model(), s.inputs(2)
    ids = inputs.pop(s.text)
    state = model.begin(inputs, ids.shape[1])
    model.step(ids[:, :2], state, "words")
    said = ids[:, :2]
    for order in ([0, 0, 0, 1, 1, 1], [2, 0, 1, 5, 5, 3]):
        rows = torch.tensor(order)
        state.select(rows)
        said = torch.cat([said[rows], torch.randint(0, VOCAB, (6, 1), generator=s.generator)], 1)
        got = model.step(said[:, -1:], state, "words")
        wide = {name: x.repeat_interleave(3, 0) for name, x in inputs.items()}
        want = model(wide | {s.text: said}).heads["words"][:, -1]
        torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)
