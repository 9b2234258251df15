"""Modules that are not ours: torch's own, of other libraries, and small conv nets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Make = Callable[[], nn.Module]
MakeInputs = Callable[[int], tuple[Tensor, ...]]


def pictures(side: int = 32, channels: int = 3) -> MakeInputs:
    """float [B, channels, side, side]."""
    return lambda batch: (torch.zeros(batch, channels, side, side),)


def tokens(length: int) -> MakeInputs:
    """int [B, length]."""
    return lambda batch: (torch.zeros(batch, length, dtype=torch.long),)


def vectors(length: int, width: int) -> MakeInputs:
    """float [B, length, width]."""
    return lambda batch: (torch.zeros(batch, length, width),)


# ------------------------------------------------------------------ torch's own


def encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.1, batch_first=True)
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.LayerNorm(1024), nn.Linear(1024, 256))


class Lstm(nn.Module):
    """Two layers and a head."""

    def __init__(self, hidden: int = 128) -> None:
        super().__init__()
        self.lstm = nn.LSTM(64, hidden, num_layers=2, batch_first=True)
        self.head = nn.Linear(hidden, 100)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0])


def convnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 128, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def grouped() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 4, stride=4),
        nn.GELU(),
        nn.Conv2d(32, 64, 3, padding=1, groups=4),
        nn.GELU(),
        nn.Conv2d(64, 64, 3, padding=1, groups=64),
        nn.GroupNorm(8, 64),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 64, 10),
    )


class Hybrid(nn.Module):
    """A convolutional stem before torch's encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.GELU(), nn.Conv2d(32, 128, 3, stride=2, padding=1)
        )
        self.encoder = encoder()
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.stem(x).flatten(2).transpose(1, 2)).mean(1))


class Attention(nn.Module):
    """A causal language model of one file, on fused attention."""

    def __init__(self, again: bool = False) -> None:
        super().__init__()
        self.again = again
        self.embed = nn.Embedding(500, 128)
        self.maps = nn.ModuleList(nn.ModuleList((nn.Linear(128, 384), nn.Linear(128, 128))) for _ in range(4))
        self.head = nn.Linear(128, 500)

    def _step(self, x: Tensor, maps: Any) -> Tensor:
        q, k, v = (t.unflatten(-1, (4, 32)).transpose(1, 2) for t in maps[0](x).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + maps[1](y.transpose(1, 2).flatten(2))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for maps in self.maps:
            x = checkpoint(self._step, x, maps, use_reentrant=False) if self.again else self._step(x, maps)
        return self.head(x)


# ------------------------------------------------------------------ libraries


def gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=1000, n_positions=128, n_embd=128, n_layer=3, n_head=4, use_cache=False)
    return GPT2LMHeadModel(config)


def bert() -> nn.Module:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=1000, hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=512
    )
    return BertModel(config)


def hf_vit() -> nn.Module:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=512,
        image_size=64,
        patch_size=8,
    )
    return ViTModel(config)


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=384,
        max_position_embeddings=128,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def linformer() -> nn.Module:
    from linformer import Linformer

    return Linformer(dim=128, seq_len=64, depth=3, heads=4, k=32)


def x_encoder() -> nn.Module:
    from x_transformers import Encoder

    return Encoder(dim=128, depth=3, heads=4)


def performer() -> nn.Module:
    from performer_pytorch import Performer

    return Performer(dim=128, depth=2, heads=4, dim_head=32)


MODELS: dict[str, tuple[Make, MakeInputs]] = {
    "torch MLP": (mlp, vectors(64, 256)),
    "torch TransformerEncoder": (encoder, vectors(64, 128)),
    "LSTM, 2 layers": (Lstm, vectors(40, 64)),
    "LSTM, 2 layers of 256": (lambda: Lstm(256), vectors(20, 64)),
    "conv net": (convnet, pictures(64)),
    "grouped conv net": (grouped, pictures(64)),
    "conv stem + encoder": (Hybrid, pictures(64)),
    "causal LM, fused attention": (Attention, tokens(128)),
    "causal LM, checkpointed": (lambda: Attention(again=True), tokens(128)),
    "HF GPT-2": (gpt2, tokens(96)),
    "HF BERT": (bert, tokens(96)),
    "HF ViT": (hf_vit, pictures(64)),
    "HF Llama": (llama, tokens(96)),
    "linformer": (linformer, vectors(64, 128)),
    "x-transformers encoder": (x_encoder, vectors(64, 128)),
}
