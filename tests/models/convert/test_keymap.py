"""The machinery of key maps: transforms and their inverses, names that are missing or left over, settings refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from patchword.config import UserError
from patchword.models.convert import LAYOUTS
from patchword.models.convert.keymap import Entry, linear, renamed, to_ours, to_theirs
from patchword.models.convert.quirks import Added, Asked, ChannelsLast, Chosen, Patches
from patchword.models.convert.reorder import order, side_by_side
from patchword.models.convert.settings import Settings
from patchword.models.convert.transforms import (
    Chain,
    Joined,
    Scaled,
    Split,
    SplitHeads,
    Transform,
    Turned,
    Unwrapped,
)


def rand(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


TRANSFORMS: dict[str, tuple[Transform, tuple[Tensor, ...]]] = {
    "turned": (Turned(), (torch.arange(6.0).view(2, 3), torch.arange(3.0))),
    "split": (Split(3), (torch.arange(12.0).view(6, 2),)),
    "split by sizes": (Split((1, 4)), (torch.arange(10.0).view(5, 2),)),
    "joined": (Joined(2), (torch.ones(2, 3), torch.zeros(2, 3))),
    "heads": (SplitHeads(2, 3), (torch.arange(24.0).view(12, 2),)),
    "heads of an offset": (SplitHeads(2, 3), (torch.arange(12.0),)),
    "scaled": (Scaled(0.5, 1.0), (torch.arange(3.0), torch.arange(2.0))),
    "unwrapped": (Unwrapped(2), (torch.arange(3.0).view(1, 1, 3),)),
    "patches": (Patches(3, (2, 1)), (torch.arange(24.0).view(4, 3, 2, 1),)),
    "channels last": (ChannelsLast(3, (2, 1)), (torch.arange(24.0).view(4, 6),)),
    "chain": (Chain(Turned(), Split(2)), (torch.arange(12.0).view(3, 4),)),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_way_back_is_the_inverse(name: str) -> None:
    how, theirs = TRANSFORMS[name]
    ours = how.to(*theirs)
    back = how.back(*ours)
    assert len(back) == len(theirs)
    assert all(torch.equal(a, b) for a, b in zip(back, theirs, strict=True))
    again = how.to(*back)
    assert all(torch.equal(a, b) for a, b in zip(again, ours, strict=True))


def test_heads_are_told_apart() -> None:
    """Two heads of width 1 with their query, key and value side by side."""
    q, k, v = SplitHeads(2, 3).to(torch.tensor([0.0, 1, 2, 10, 11, 12]))
    assert [q.tolist(), k.tolist(), v.tolist()] == [[0, 10], [1, 11], [2, 12]]


def test_patches_with_channels_last() -> None:
    """A patch of two rows: (row 0: red, green), (row 1: red, green) -> (red: rows), (green: rows)."""
    assert ChannelsLast(2, (2, 1)).to(torch.tensor([[1.0, 2, 3, 4]]))[0].tolist() == [[1, 3, 2, 4]]


def test_what_every_token_gets_is_added_to_its_place() -> None:
    table, kinds = rand(4, 3), rand(2, 3)
    made = Added(2).to(table, kinds)
    assert torch.equal(made[0], table + kinds[0])
    back = Added(2).back(*made)
    assert torch.equal(back[0], made[0])
    assert back[1].shape == (2, 3)
    assert not back[1].any()


def test_a_query_goes_back_as_its_map_made_it() -> None:
    probe, weight, bias = rand(1, 1, 4), rand(12, 4), rand(12)
    ours = Asked().to(probe, weight, bias)
    assert torch.equal(ours[0], probe[0] @ weight[:4].T + bias[:4])
    back = Asked().back(*ours)
    assert [t.shape for t in back] == [probe.shape, weight.shape, bias.shape]
    assert torch.equal(back[1][4:], weight[4:])
    assert torch.equal(back[2][4:], bias[4:])
    assert all(torch.equal(a, b) for a, b in zip(Asked().to(*back), ours, strict=True))


def test_a_table_of_scores_is_chosen_from() -> None:
    table = rand(4, 5)
    vectors, scores = Chosen().to(table)
    assert torch.equal(vectors @ scores.T, table)
    with pytest.raises(NotImplementedError, match="not invertible"):
        Chosen().back(vectors, scores)
    with pytest.raises(UserError, match="read but not written: Chosen"):
        to_theirs([Entry(("a",), ("b", "c"), Chosen())], {"b": vectors, "c": scores})


def test_gradients_pass_through() -> None:
    leaf = rand(6, 4).requires_grad_()
    made = to_ours([Entry(("a",), ("q", "k"), Chain(Split(2), Scaled(2.0, 1.0)))], {"a": leaf})
    (made["q"].sum() + made["k"].sum()).backward()
    assert leaf.grad is not None
    assert leaf.grad[:3].eq(2).all()
    assert leaf.grad[3:].eq(1).all()


def test_missing_and_left_over_names_are_one_message() -> None:
    entries = [*linear("fc", "up_proj"), Entry(("gone",), ("x",))]
    with pytest.raises(UserError) as error:
        to_ours(entries, {"fc.weight": rand(2, 2), "fc.bias": rand(2), "extra.1": rand(1), "mask": rand(1)}, ("mask",))
    assert "missing: gone" in str(error.value)
    assert "left over: extra.1" in str(error.value)
    assert "mask" not in str(error.value)
    with pytest.raises(UserError, match=r"missing: up_proj\.bias; left over: down_proj"):
        to_theirs(linear("fc", "up_proj"), {"up_proj.weight": rand(2, 2), "down_proj": rand(1)})
    many = {f"n{i:02d}": rand(1) for i in range(30)}
    with pytest.raises(UserError, match=r"n00, .* and 18 more"):
        to_ours([], many)


def test_two_tensors_cannot_get_one_name() -> None:
    with pytest.raises(UserError, match="two tensors are b"):
        renamed({"a": rand(1), "b": rand(1)}, [("^a$", "b")])


def test_sines_before_cosines() -> None:
    assert order(6).tolist() == [0, 2, 4, 1, 3, 5]
    stream = torch.tensor([0.0, 1, 2, 3])
    moved = side_by_side(
        {
            "x.norm.weight": stream,
            "x.step.out_proj.bias": stream,
            "x.step.down_proj.weight": stream[:, None].expand(4, 2),
            "x.step.q_proj.weight": stream.expand(3, 4),
            "x.step.q_proj.bias": stream,
            "towers.a.embedding.table.weight": stream.expand(5, 4),
            "heads.text.proj.weight": stream.expand(5, 4),
            "heads.text.proj.bias": stream,
        }
    )
    want = stream[order(4)]
    assert torch.equal(moved["x.norm.weight"], want)
    assert torch.equal(moved["x.step.out_proj.bias"], want)
    assert torch.equal(moved["x.step.down_proj.weight"][:, 0], want)
    for name in ("x.step.q_proj.weight", "towers.a.embedding.table.weight", "heads.text.proj.weight"):
        assert torch.equal(moved[name][0], want)
    for name in ("x.step.q_proj.bias", "heads.text.proj.bias"):
        assert torch.equal(moved[name], stream)


LLAMA: dict[str, Any] = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocab_size": 9,
    "max_position_embeddings": 16,
}
GPT2: dict[str, Any] = {"n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 9, "n_positions": 4}
BERT: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


@pytest.mark.parametrize(
    ("layout", "settings", "message"),
    [
        ("llama", LLAMA | {"rope_parameters": {"rope_type": "longrope"}}, "rotary scaling 'longrope'"),
        ("llama", LLAMA | {"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rotary scaling 'dynamic'"),
        ("llama", LLAMA | {"rope_parameters": {"sliding_attention": {}}}, "several kinds of layers with angles"),
        ("llama", LLAMA | {"use_sliding_window": True}, "use_sliding_window True has no counterpart"),
        ("llama", LLAMA | {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types of several kinds"),
        ("llama", LLAMA | {"hidden_act": "gelly"}, "unknown activation 'gelly'; did you mean 'gelu'"),
        ("llama", LLAMA | {"hidden_size": "8"}, "hidden_size should be a whole number"),
        ("llama", LLAMA | {"rope_parameters": 3}, "rope_parameters should hold settings"),
        ("llama", LLAMA | {"vocab_size": None}, "says nothing of vocab_size"),
        ("llama", LLAMA | {"num_key_value_heads": 3}, "does not divide num_heads"),
        ("gpt2", GPT2 | {"add_cross_attention": True}, "add_cross_attention True"),
        ("gpt2", GPT2 | {"tie_word_embeddings": 1}, "tie_word_embeddings should be true or false"),
        ("bert", BERT | {"is_decoder": True}, "is_decoder True"),
        ("bert", BERT | {"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ("t5", {"feed_forward_proj": "double-gelu"}, "feed_forward_proj 'double-gelu'"),
        ("vit", {"image_mean": [0.5]}, "image_mean should be 3 numbers"),
    ],
)
def test_settings_that_cannot_be_expressed_are_refused(layout: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LAYOUTS[layout].config(Settings(settings, layout), {})


def test_weights_of_another_shape_are_named() -> None:
    layout = LAYOUTS["gpt2"]
    config = layout.config(Settings(GPT2, "gpt2"), {})
    names = [n for entry in layout.entries(config, Settings(GPT2, "gpt2")) for n in entry.theirs]
    shapes = {"wte": (9, 8), "wpe": (4, 8), "c_attn.weight": (8, 24), "c_attn.bias": (24,), "c_fc.weight": (8, 32)}
    shapes |= {"c_fc.bias": (32,), "mlp.c_proj.weight": (32, 8), "attn.c_proj.weight": (8, 8)}
    weights = {n: rand(*next((s for part, s in shapes.items() if part in n), (8,))) for n in names}
    assert layout.read(GPT2, weights).config == config
    wrong = weights | {"transformer.wte.weight": rand(7, 8)}
    with pytest.raises(UserError, match=r"towers\.text\.embedding\.table\.weight is \[7, 8\], should be \[9, 8\]"):
        layout.read(GPT2, wrong)
