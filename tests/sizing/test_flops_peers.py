"""Models that are not ours: transformers' against sums by hand, and torch's own counter where that is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from tests.sizing.counting import Counted, counted

transformers = pytest.importorskip("transformers")


@contextmanager
def without_contents(build: Callable[[], nn.Module]) -> Iterator[nn.Module]:
    """A model of any size, at once; inside, tensors have no contents."""
    with torch.device("meta"):
        model = build()
    with FakeTensorMode(allow_non_fake_inputs=True):
        for module in model.modules():
            for kept in (module._parameters, module._buffers):
                kept.update({name: blank(tensor) for name, tensor in kept.items() if tensor is not None})  # pyright: ignore
        yield model


def blank(tensor: Tensor) -> Tensor:
    new = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    return nn.Parameter(new) if isinstance(tensor, nn.Parameter) else new


def gpt2(attention: str, **settings: Any) -> nn.Module:
    nothing = {f"{part}_pdrop": 0.0 for part in ("attn", "embd", "resid")}  # dropout unfuses attention
    config = transformers.GPT2Config(attn_implementation=attention, use_cache=False, **nothing, **settings)
    return transformers.GPT2LMHeadModel(config).train()


def vit(attention: str, **settings: Any) -> nn.Module:
    config = transformers.ViTConfig(attn_implementation=attention, **settings)
    return transformers.ViTForImageClassification(config).train()


def stepped(model: nn.Module, *given: Tensor) -> Counted:
    return counted(lambda: model(*given).logits.sum().backward(), model)


def gpt2_by_hand(batch: int, length: int, dim: int = 768, depth: int = 12, vocab: int = 50257) -> int:
    """Four maps of D x D and two of D x 4 D a block, scores and sums; then the scores of the vocabulary."""
    return batch * length * (depth * (24 * dim * dim + 4 * length * dim) + 2 * dim * vocab)


def vit_by_hand(batch: int, dim: int = 768, depth: int = 12, labels: int = 2, size: int = 224) -> int:
    """The same blocks over patches and one token more; the map of patches before, and of the first token behind."""
    patches = (size // 16) ** 2
    tokens = patches + 1
    blocks = depth * tokens * (24 * dim * dim + 4 * tokens * dim)
    return batch * (2 * patches * 3 * 16 * 16 * dim + blocks + 2 * dim * labels)


def patch_map(batch: int, dim: int = 768, size: int = 224) -> int:
    return batch * 2 * (size // 16) ** 2 * 3 * 16 * 16 * dim


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_gpt2_of_its_full_size(attention: str) -> None:
    with without_contents(lambda: gpt2(attention)) as model:
        found = stepped(model, torch.zeros(2, 256, dtype=torch.long))
    assert found.forward == gpt2_by_hand(2, 256) == 131_328_638_976
    assert found.backward == 2 * found.forward
    assert found.ledger == {}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_vit_of_its_full_size(attention: str) -> None:
    with without_contents(lambda: vit(attention)) as model:
        found = stepped(model, torch.zeros(2, 3, 224, 224))
    assert found.forward == vit_by_hand(2) == 70_252_247_040
    assert found.backward == 2 * found.forward - patch_map(2)
    assert found.ledger == {}


SMALL = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 50, "n_positions": 32}


def torchs_own(run: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


class Mixed(nn.Module):
    """Products in many spellings, none of which torch's counter misses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.maps = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(torch.relu(self.conv(x))).flatten(1)[:, :160].unflatten(1, (10, 16))
        q, k, v = (each(y) for each in self.maps)
        weights = torch.einsum("bid,bjd->bij", q, k).softmax(-1)
        return torch.baddbmm(y, weights, v) @ torch.ones(16, 2)


@pytest.mark.parametrize(
    ("build", "given"),
    [
        (lambda: gpt2("eager", **SMALL), lambda: torch.randint(0, 50, (2, 9))),
        (Mixed, lambda: torch.randn(2, 3, 15, 15)),
    ],
)
def test_torchs_counter_agrees_where_it_is_right(build: Callable[[], nn.Module], given: Callable[[], Tensor]) -> None:
    model, x = build(), given()

    def step() -> None:
        out = model(x)
        (out if isinstance(out, Tensor) else out.logits).sum().backward()

    found = counted(step, model)
    assert found.model == found.hardware == torchs_own(step)
    assert found.ledger == {}


def test_torchs_counter_misses_fused_attention_of_the_cpu() -> None:
    model, ids = gpt2("sdpa", **SMALL), torch.randint(0, 50, (2, 9))
    found = counted(lambda: model(ids), model)
    scores = 2 * 2 * 4 * 9 * 9 * 32  # batch, layers, scores and sums
    assert found.forward - torchs_own(lambda: model(ids)) == scores
