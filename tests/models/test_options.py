"""Small options of heads and towers against the arithmetic that they stand for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from patchword.config import (
    AttentionPoolConfig,
    ConfigError,
    CrossFusionConfig,
    EmbeddingHeadConfig,
    FirstPoolConfig,
    HeadConfig,
    ImageTowerConfig,
    LabelHeadConfig,
    LanguageHeadConfig,
    LayerNormConfig,
    ModelConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    TextTowerConfig,
    TowerConfig,
)
from patchword.models.model import Model, count_parameters, tied_names
from patchword.sequence import ImageInput, TextInput, Tokens
from patchword.testing import randomise

DIM, VOCAB = 12, 17


def built(config: ModelConfig) -> Model:
    model: Model = config.build()
    randomise(model, torch.Generator().manual_seed(5))
    return model.double().eval()


def text_model(head: HeadConfig) -> Model:
    tower = TextTowerConfig(dim=DIM, depth=1, vocab_size=VOCAB)
    return built(ModelConfig(towers={"text": tower}, heads={"out": head}))


def weights(model: Model, name: str) -> tuple[Tensor, Tensor]:
    state = model.state_dict()
    return state[f"{name}.weight"], state[f"{name}.bias"]


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-12)


@torch.no_grad()
def test_a_language_head_may_transform_tokens_first() -> None:
    norm = LayerNormConfig(eps=1e-3)
    model = text_model(LanguageHeadConfig(source="text", bias=True, transform="relu", norm=norm))
    out = model({"text": torch.randint(0, VOCAB, (2, 5))})
    inner = F.relu(F.linear(out.towers["text"].x, *weights(model, "heads.out.transform.proj")))
    inner = F.layer_norm(inner, (DIM,), *weights(model, "heads.out.transform.norm"), eps=1e-3)
    close(out.heads["out"], F.linear(inner, *weights(model, "heads.out.proj")))
    assert tied_names(model) == {"heads.out.proj.weight": "towers.text.embedding.table.weight"}


@torch.no_grad()
def test_a_label_head_may_transform_its_vector_first() -> None:
    model = text_model(LabelHeadConfig(source="text", num_classes=3, pool=FirstPoolConfig(), transform="tanh"))
    out = model({"text": torch.randint(0, VOCAB, (2, 5))})
    inner = torch.tanh(F.linear(out.towers["text"].x[:, 0], *weights(model, "heads.out.transform.proj")))
    close(out.heads["out"], F.linear(inner, *weights(model, "heads.out.proj")))


@torch.no_grad()
def test_an_embedding_head_may_have_an_offset() -> None:
    head = EmbeddingHeadConfig(source="text", out_dim=5, pool=FirstPoolConfig(), bias=True, normalize=False)
    model = text_model(head)
    out = model({"text": torch.randint(0, VOCAB, (2, 4))})
    close(out.heads["out"], F.linear(out.towers["text"].x[:, 0], *weights(model, "heads.out.proj")))
    assert text_model(head.replace(bias=False)).state_dict().keys().isdisjoint({"heads.out.proj.bias"})


@torch.no_grad()
def test_an_embedding_head_may_be_without_a_map() -> None:
    head = EmbeddingHeadConfig(source="text", out_dim=None, pool=FirstPoolConfig())
    model = text_model(head)
    out = model({"text": torch.randint(0, VOCAB, (2, 4))})
    close(out.heads["out"], F.normalize(out.towers["text"].x[:, 0], dim=-1))
    assert not list(model.heads["out"].parameters())


@torch.no_grad()
def test_a_pool_may_end_with_a_residual_step() -> None:
    ffn = StandardFeedForwardConfig(hidden_dim=7, activation="relu")
    pool = AttentionPoolConfig(num_heads=2, ffn=ffn, norm=LayerNormConfig(eps=1e-3))
    model = text_model(EmbeddingHeadConfig(source="text", out_dim=None, pool=pool, normalize=False))
    out = model({"text": torch.randint(0, VOCAB, (2, 4))})
    tokens, at = Tokens(out.towers["text"].x), "heads.out.pool"
    found = F.linear(model.heads["out"].pool.look(tokens)[:, 0], *weights(model, f"{at}.out_proj"))  # pyright: ignore
    inner = F.layer_norm(found, (DIM,), *weights(model, f"{at}.ffn.norm"), eps=1e-3)
    inner = F.relu(F.linear(inner, *weights(model, f"{at}.ffn.step.up_proj")))
    close(out.heads["out"], found + F.linear(inner, *weights(model, f"{at}.ffn.step.down_proj")))


@torch.no_grad()
def test_the_patch_map_may_have_no_offset() -> None:
    tower = ImageTowerConfig(dim=DIM, depth=1, image_size=(8, 8), patch_size=(4, 4), patch_bias=False)
    model = built(ModelConfig(towers={"image": tower}, heads={}))
    assert "towers.image.embedding.proj.bias" not in model.state_dict()
    grey = torch.full((1, 3, 8, 8), 0.5, dtype=torch.float64)  # the mean of pixels: nothing is left to map
    assert not model.towers["image"].embedding(grey).x.any()  # pyright: ignore


def two_texts(**target: Any) -> ModelConfig:
    source = TextTowerConfig(dim=DIM, depth=1, vocab_size=VOCAB)
    towers = {"source": source, "target": TextTowerConfig(dim=DIM, depth=0, vocab_size=VOCAB).replace(**target)}
    own = SoftmaxAttentionConfig()
    trunk = StackConfig(dim=DIM, depth=1, attention=own.replace(causal=True), cross_attention=own)
    head = {"text": LanguageHeadConfig(text="target")}
    return ModelConfig(towers=towers, fusion=CrossFusionConfig(reader="target"), trunk=trunk, heads=head)


def test_text_towers_may_share_their_table() -> None:
    alone, shared = built(two_texts()), built(two_texts(shares="source"))
    assert count_parameters(alone) - count_parameters(shared) == VOCAB * DIM
    owner = "towers.source.embedding.table.weight"
    assert tied_names(shared) == {"towers.target.embedding.table.weight": owner, "heads.text.proj.weight": owner}
    same = shared.state_dict() | {}
    alone.load_state_dict(same)
    ids = {"source": torch.randint(0, VOCAB, (2, 5)), "target": torch.randint(0, VOCAB, (2, 4))}
    close(shared(ids).heads["text"], alone(ids).heads["text"])
    shared(ids).heads["text"].square().mean().backward()
    assert shared.get_parameter(owner).grad is not None


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"shares": "sorce"}, "did you mean 'source'"),
        ({"shares": "target"}, "allowed: source"),
        ({"shares": "source", "vocab_size": 9}, "17 x 12"),
        ({"shares": "source", "min_rows": 20}, "min_rows: the table is that of source"),
    ],
)
def test_a_table_that_cannot_be_shared_is_refused(target: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        two_texts(**target)


def test_a_stack_may_begin_with_a_norm_and_still_reads_nothing() -> None:
    tower = TextTowerConfig(dim=DIM, depth=1, vocab_size=VOCAB, entry_norm=True)
    model = built(ModelConfig(towers={"text": tower}, heads={"out": LanguageHeadConfig(source="text", text="text")}))
    scores = model({"text": TextInput(torch.zeros(2, 0, dtype=torch.long))}).heads["out"]
    assert scores.shape == (2, 0, VOCAB)
    (scores.sum() + sum(p.sum() * 0 for p in model.parameters())).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_shared_table_has_its_owners_size() -> None:
    config = two_texts(shares="source", vocab_size=None)
    model = built(config)
    assert model.config.towers["target"].vocab_size == VOCAB  # type: ignore[attr-defined]
    asked: list[str] = []
    empty = config.replace(towers=config.towers | {"source": config.towers["source"].replace(vocab_size=None)})
    filled = empty.with_vocabularies(lambda name: asked.append(name) or 7)
    assert asked == ["source"]
    assert [tower.vocab_size for tower in filled.towers.values()] == [7, 7]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("least", "rows"), [(None, VOCAB), (VOCAB - 1, VOCAB), (VOCAB + 2, VOCAB + 2)])
def test_a_table_may_have_rows_that_nothing_says(least: int | None, rows: int) -> None:
    tower = TextTowerConfig(dim=DIM, depth=0, vocab_size=VOCAB, min_rows=least)
    head = LanguageHeadConfig(source="text", tied=False)
    model = built(ModelConfig(towers={"text": tower}, heads={"out": head}))
    assert model({"text": torch.tensor([[0, rows - 1]])}).heads["out"].shape == (1, 2, VOCAB)
    assert model.get_parameter("towers.text.embedding.table.weight").shape == (rows, DIM)


def test_a_tied_map_has_no_rows_to_leave_out() -> None:
    source, target = TextTowerConfig(dim=DIM, min_rows=20), TextTowerConfig(dim=DIM, shares="source")
    towers: dict[str, TowerConfig] = {"source": source, "target": target}
    head = LanguageHeadConfig(source="target", text="target")
    with pytest.raises(ConfigError, match=r"heads\.out\.tied: .*min_rows 20.*set tied to false"):
        ModelConfig(towers=towers, heads={"out": head})
    ModelConfig(towers=towers, heads={"out": head.replace(tied=False)})


@torch.no_grad()
def test_a_tower_may_keep_its_cls_token_to_itself() -> None:
    """The patches have seen it, and it is not among what the tower gives."""
    config = ImageTowerConfig(dim=DIM, depth=2, image_size=(16, 16), cls_token=True)
    whole = built(ModelConfig(towers={"image": config}, heads={}))
    own = built(ModelConfig(towers={"image": config.replace(gives_cls=False)}, heads={}))
    pixels, size = torch.rand(3, 3, 16, 16), torch.tensor([[16, 16], [8, 16], [0, 0]])
    for given in (pixels, ImageInput(pixels, size)):
        want, got = whole({"image": given}).towers["image"], own({"image": given}).towers["image"]
        assert torch.equal(got.x, want.x[:, 1:])
        assert torch.equal(got.info.pos, want.info.pos[:, 1:])
        assert (got.info.valid is None) == (want.info.valid is None)
        if got.info.valid is not None:
            assert torch.equal(got.info.valid, want.info.valid[:, 1:])
    assert own({"image": pixels[:0]}).towers["image"].x.shape == (0, 4, DIM)
    with pytest.raises(ConfigError, match="no such token"):
        ImageTowerConfig(gives_cls=False)
