"""What each fusion hands to the trunk, and who then sees whom in a causal one."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from patchword.config import (
    CrossFusionConfig,
    FilmFusionConfig,
    FusionConfig,
    JointFusionConfig,
    PrefixFusionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
)
from patchword.nn.fusion import Fused, Fusion
from patchword.sequence import SequenceInfo, Tokens
from patchword.testing import Case, Subject, randomise

DIMS = {"image": 12, "text": 16, "other": 16}
CAUSAL = StackConfig(dim=16, attention=SoftmaxAttentionConfig(causal=True))


def parts(batch: int = 2, texts: int = 2) -> dict[str, Tokens]:
    def tokens(rows: int, length: int, dim: int, valid: torch.Tensor | None) -> Tokens:
        info = SequenceInfo(valid=valid, pos=torch.randint(0, 4, (rows, length, 2)))
        return Tokens(torch.randn(rows, length, dim, dtype=torch.float64), info)

    seen = torch.tensor([[True, True, True], [True, False, False]])[:batch]
    text = tokens(texts, 4, 16, None)
    return {
        "image": tokens(batch, 3, 12, seen),
        "text": Tokens(text.x, SequenceInfo()),
        "other": tokens(batch, 2, 16, None),
    }


def fuse(config: FusionConfig, given: dict[str, Tokens]) -> tuple[Fusion, Fused]:
    fusion: Fusion = config.build({name: DIMS[name] for name in given}, 16)
    randomise(fusion, torch.Generator().manual_seed(4))
    fusion = fusion.double()
    return fusion, fusion(given)


@pytest.mark.parametrize("projector", [None, "linear", "mlp"])
@pytest.mark.parametrize("kind", [CrossFusionConfig, PrefixFusionConfig, JointFusionConfig])
def test_tokens_and_facts(kind: type[FusionConfig], projector: Any) -> None:
    given = parts()
    fusion, fused = fuse(kind(projector=projector), given)
    maps = fusion.projectors
    others = [maps[name](given[name].x) if name in maps else given[name].x for name in ("image", "other")]
    assert ("other" in maps) == (projector is not None), "equal widths need no map unless one is asked for"
    valid = torch.tensor([[True] * 5, [True, False, False, True, True]])
    if kind is CrossFusionConfig:
        assert fused.memory is not None
        assert torch.equal(fused.memory.x, torch.cat(others, 1))
        torch.testing.assert_close(fused.memory.info.valid, valid)
        assert fused.tokens is given["text"]
        assert fused.start == 0
        return
    assert fused.memory is None
    assert fused.start == 5
    assert torch.equal(fused.tokens.x, torch.cat([*others, given["text"].x], 1))
    torch.testing.assert_close(fused.tokens.info.valid, torch.cat([valid, torch.ones(2, 4, dtype=torch.bool)], 1))
    order = fused.tokens.info.order
    if kind is JointFusionConfig:
        assert order is None
    else:
        assert order is not None
        assert order.tolist() == [[4] * 5 + [5, 6, 7, 8]] * 2


@pytest.mark.parametrize("kind", [PrefixFusionConfig, JointFusionConfig])
def test_what_stands_before_the_text_sees_itself_in_a_prefix_only(kind: type[FusionConfig]) -> None:
    given, trunk = parts(batch=1, texts=1), Subject(Case(CAUSAL)).stack
    fusion, fused = fuse(kind(), given)
    changed = dict(given)
    x = given["other"].x.clone()
    x[:, -1] = torch.randn(16)
    changed["other"] = Tokens(x, given["other"].info)
    before, after = trunk(fused.tokens), trunk(fusion(changed).tokens)
    moved = ((before - after).abs().amax((0, 2)) > 1e-6).tolist()
    assert moved == ([True] * 9 if kind is PrefixFusionConfig else [False] * 4 + [True] * 5)


@pytest.mark.parametrize("kind", [PrefixFusionConfig, JointFusionConfig])
def test_several_texts_of_a_sample_repeat_its_other_tokens(kind: type[FusionConfig]) -> None:
    given = parts(batch=2, texts=6)
    _, fused = fuse(kind(), given)
    wide = {n: t if n == "text" else Tokens(t.x.repeat_interleave(3, 0), facts(t, 3)) for n, t in given.items()}
    _, want = fuse(kind(), wide)
    torch.testing.assert_close(fused.tokens.x, want.tokens.x)
    torch.testing.assert_close(fused.tokens.info.valid, want.tokens.info.valid)
    with pytest.raises(ValueError, match="5 texts do not go evenly with 2 samples"):
        fuse(kind(), parts(batch=2, texts=5))


@pytest.mark.parametrize("kind", [CrossFusionConfig, PrefixFusionConfig, JointFusionConfig])
def test_several_questions_share_a_picture(kind: type[FusionConfig]) -> None:
    given = parts(batch=2, texts=6)
    given["other"] = Tokens(torch.randn(6, 2, 16, dtype=torch.float64))
    _, fused = fuse(kind(), given)
    image = given["image"]
    _, want = fuse(kind(), given | {"image": Tokens(image.x.repeat_interleave(3, 0), facts(image, 3))})
    got, expected = fused.memory or fused.tokens, want.memory or want.tokens
    assert len(got.x) == 6
    torch.testing.assert_close(got.x, expected.x)
    torch.testing.assert_close(got.info.valid, expected.info.valid)


def facts(tokens: Tokens, times: int) -> SequenceInfo:
    valid = tokens.info.valid
    return SequenceInfo(valid=None if valid is None else valid.repeat_interleave(times, 0))


@pytest.mark.parametrize("kind", [CrossFusionConfig, PrefixFusionConfig, JointFusionConfig])
def test_one_tower_alone_is_left_as_it_is(kind: type[FusionConfig]) -> None:
    text = parts()["text"]
    _, fused = fuse(kind(), {"text": text})
    assert fused.memory is None
    assert fused.start == 0
    assert torch.equal(fused.tokens.x, text.x)
    assert fused.tokens.info._replace(modality=None) == SequenceInfo()


@pytest.mark.parametrize("kind", [CrossFusionConfig, PrefixFusionConfig, JointFusionConfig, FilmFusionConfig])
def test_a_tower_may_be_left_as_it_is(kind: type[FusionConfig]) -> None:
    fusion, _ = fuse(kind(projector="mlp", as_is=("other",)), parts())
    assert set(fusion.projectors) == {"image"}
    wrong = {"image": "image is 12 wide, the trunk 16", "text": "unknown tower", "nobody": "unknown tower"}
    for name, message in wrong.items():
        problems = list(kind(as_is=(name,)).misfits(DIMS, 16))
        assert [problem.path for problem in problems] == ["as_is"]
        assert message in problems[0].message


@pytest.mark.parametrize("side", ["none", "left", "right"])
def test_the_first_token_of_a_text_may_belong_to_its_prefix(side: str) -> None:
    """All of the prefix sees the first real token, which sees no later one; nothing else is changed."""
    starts, ends = {"none": (0, 4), "left": (1, 4), "right": (0, 3)}[side]
    given, places = parts(batch=1, texts=1), torch.arange(4)
    valid = None if side == "none" else ((places >= starts) & (places < ends))[None]
    given["text"] = Tokens(given["text"].x, SequenceInfo(valid=valid))
    trunk = Subject(Case(CAUSAL)).stack
    _, plain = fuse(PrefixFusionConfig(), given)
    fusion, fused = fuse(PrefixFusionConfig(opens=True), given)
    before, length = trunk(fused.tokens), fused.start
    assert not torch.equal(before[:, :length], trunk(plain.tokens)[:, :length])
    for place in range(starts, ends):
        x = given["text"].x.clone()
        x[:, place] += 1
        after = trunk(fusion({**given, "text": given["text"]._replace(x=x)}).tokens)
        seen = ((after - before).abs().amax(-1)[0] > 0).tolist()
        assert seen[:length] == [place == starts] * length
        assert seen[length + starts : length + ends] == [other >= place for other in range(starts, ends)]


def test_a_text_without_any_prefix_opens_alone() -> None:
    given = {"text": parts()["text"]}
    assert fuse(PrefixFusionConfig(opens=True), given)[1].tokens.info.order is None
