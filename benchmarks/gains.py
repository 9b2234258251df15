"""What the recent mechanisms gain at small sizes: `python -m benchmarks.gains [--text FILE] [--steps N] [--seeds N]`.

Character language models of equal size (feed-forwards give way to what a mechanism adds), trained on the same windows
in the same order. Default text: the help topics that come with Python, 465,048 characters in Python 3.11.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from pathlib import Path
from pydoc_data.topics import topics

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchword.config import (
    AttentionConfig,
    DifferentialAttentionConfig,
    RMSNormConfig,
    RotaryPositionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    SwiGLUConfig,
)
from patchword.nn import Stack
from patchword.sequence import Tokens

DIM, DEPTH, HEADS, HIDDEN = 64, 3, 4, 168
LENGTH, BATCH, RATE = 96, 16, 3e-3
VARIANTS: dict[str, AttentionConfig] = {
    "softmax": SoftmaxAttentionConfig(num_heads=HEADS, causal=True, bias=False, out_bias=False),
    "softmax, gate": SoftmaxAttentionConfig(num_heads=HEADS, causal=True, bias=False, out_bias=False, gate=True),
    **{
        f"differential, first_lambda {first}": DifferentialAttentionConfig(
            num_heads=HEADS, causal=True, bias=False, out_bias=False, first_lambda=first
        )
        for first in (0.2, 0.8)
    },
}


class Characters(nn.Module):
    """A stack between a tied table and its transpose."""

    def __init__(self, attention: AttentionConfig, hidden: int, vocab_size: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab_size, DIM)
        nn.init.normal_(self.table.weight, std=DIM**-0.5)
        config = StackConfig(
            dim=DIM,
            depth=DEPTH,
            position=RotaryPositionConfig(),
            attention=attention,
            ffn=SwiGLUConfig(hidden_dim=hidden),
            norm=RMSNormConfig(),
        )
        self.stack = Stack(config)

    def forward(self, ids: Tensor) -> Tensor:
        """The mean loss of each character after the first; int [B, T + 1] -> []."""
        x = self.stack(Tokens(self.table(ids[:, :-1]) * DIM**0.5))
        return F.cross_entropy((x @ self.table.weight.T).flatten(0, 1), ids[:, 1:].flatten())


def size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def fitted(attention: AttentionConfig, vocab_size: int) -> Characters:
    """The model with the widest feed-forward that is no larger than plain softmax attention's."""
    most = size(Characters(VARIANTS["softmax"], HIDDEN, vocab_size))
    hidden = HIDDEN
    while size(Characters(attention, hidden, vocab_size)) > most:
        hidden -= 1
    return Characters(attention, hidden, vocab_size)


def windows(text: Tensor, generator: torch.Generator, count: int) -> Tensor:
    start = torch.randint(len(text) - LENGTH - 1, (count, 1), generator=generator)
    return text[start + torch.arange(LENGTH + 1)]


def trained(attention: AttentionConfig, text: Tensor, seed: int, steps: int) -> tuple[float, int, float]:
    """Loss on held-out text, parameters, seconds of the processor."""
    torch.manual_seed(seed)
    learn, held = text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]
    model = fitted(attention, int(text.max()) + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    generator, start = torch.Generator().manual_seed(seed), time.process_time()
    for step in range(steps):
        rate = RATE * min(1, (step + 1) / 50) * (0.55 + 0.45 * math.cos(math.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        model(windows(learn, generator, BATCH)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    seconds = time.process_time() - start
    with torch.no_grad():
        checks = torch.Generator().manual_seed(0)
        loss = statistics.mean(model(windows(held, checks, 64)).item() for _ in range(16))
    return loss, size(model), seconds


def main() -> None:
    """Train every variant with every seed, then print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gains", description=__doc__)
    parser.add_argument("--text", type=Path, help="a file of text; default: Python's help topics")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    letters = options.text.read_text() if options.text else "\n".join(topics[name] for name in sorted(topics))
    index = {letter: i for i, letter in enumerate(sorted(set(letters)))}
    text = torch.tensor([index[letter] for letter in letters])
    results: dict[str, list[tuple[float, int, float]]] = {name: [] for name in VARIANTS}
    for seed in range(options.seeds):
        for name, attention in VARIANTS.items():
            results[name].append(trained(attention, text, seed, options.steps))
            print(f"seed {seed}, {name}: {results[name][-1][0]:.4f}", file=sys.stderr, flush=True)
    print(f"{len(letters):,} characters, {len(index)} different; {options.steps} steps of {BATCH} x {LENGTH}\n")
    print("| | parameters | loss | by seed | against softmax | processor s |\n| --- | --- | --- | --- | --- | --- |")
    for name, runs in results.items():
        losses = [loss for loss, *_ in runs]
        gaps = [loss - plain[0] for loss, plain in zip(losses, results["softmax"], strict=True)]
        seconds = statistics.mean(run[2] for run in runs)
        each, gap = ", ".join(f"{loss:.3f}" for loss in losses), ", ".join(f"{g:+.3f}" for g in gaps)
        print(f"| {name} | {runs[0][1]:,} | {statistics.mean(losses):.4f} | {each} | {gap} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
