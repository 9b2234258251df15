"""FLOPs that sizing predicts against closed forms and sums by hand, and beside them torch's own counter.

python -m benchmarks.sizing.flops docs/sizing/accuracy-flops.md
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import patchword
from patchword.config import RunConfig, TextTowerConfig
from patchword.models.presets import load_config
from tests.sizing import test_flops_peers as peers
from tests.sizing.closed_base import Cost
from tests.sizing.closed_blocks import linear
from tests.sizing.closed_models import model

PRESETS = [
    "captioner-tiny", "captioner-small", "captioner-base", "captioner-prefix-small", "layout-single-stream",
    "layout-dual-stream", "layout-merged-attention", "layout-late-fusion",
]  # fmt: skip
MECHANISMS: dict[str, dict[str, Any]] = {
    "softmax, window": {"kind": "softmax", "window": 8},
    "differential": {"kind": "differential"},
    "topk": {"kind": "topk", "k": 16},
    "sparse, local": {"kind": "sparse", "pattern": {"kind": "local", "reach": 9, "num_global": 2}},
    "sparse, block": {"kind": "sparse", "pattern": {"kind": "block", "block_size": 16}},
    "sparse, strided": {"kind": "sparse", "pattern": {"kind": "strided", "stride": 14}},
    "sparse, fixed": {"kind": "sparse", "pattern": {"kind": "fixed", "block_size": 28}},
    "linear": {"kind": "linear"},
    "performer": {"kind": "performer"},
    "linformer": {"kind": "linformer", "pooled_len": 32},
    "reformer": {"kind": "reformer", "bucket_size": 28},
}
"""Of the picture's tower of captioner-small; the trunk's stays."""
BATCH = 4


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Markdown."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def expected(run: RunConfig) -> Cost:
    """The closed form of a captioner's training step."""
    text, trunk, texts = run.model.towers["text"], run.model.trunk, run.data.batch.captions
    assert isinstance(text, TextTowerConfig)
    assert trunk is not None
    assert text.vocab_size is not None
    parts = model(run.model, BATCH, text.max_len, texts)
    del parts["text head"]
    return Cost().plus(*parts.values(), linear(BATCH * texts * text.max_len, trunk.dim, text.vocab_size))


def row(name: str, spec: str, changes: dict[str, Any]) -> tuple[str, ...]:
    """A configuration, predicted against its closed form."""
    run = load_config(spec, changes)
    text = run.model.towers["text"]
    assert isinstance(text, TextTowerConfig)
    if text.vocab_size is None:
        run = load_config(run, {"model.text.vocab_size": 1000})
    found, hand = patchword.size(run, batch=BATCH), expected(run)
    flops = found.total.flops
    predicted = Cost(flops.forward, flops.backward, flops.hardware)
    errors = [a - b for a, b in zip(predicted, hand, strict=True)]
    ledger = str(sum(found.uncounted.values()))
    return (name, *(f"{each:,}" for each in predicted), "equal" if not any(errors) else str(errors), ledger)


def foreign(name: str, build: Any, given: torch.Tensor, hand: int, free: int) -> tuple[str, ...]:
    """A model of transformers: forward by hand, backward twice that less what no pixel wants; and torch's counter."""
    with peers.without_contents(build) as made:
        found = peers.stepped(made, given)
        with FlopCounterMode(display=False) as counter:
            made(given).logits.sum().backward()
    true = 3 * hand - free
    other = counter.get_total_flops() / true - 1
    return name, f"{true:,}", "equal" if found.model == true else f"{found.model - true:,}", f"{100 * other:+.2f} %"


def main(out: Path) -> None:
    """Write the page."""
    head = ("configuration", "forward", "backward", "hardware", "closed form", "in the ledger")
    rows = [row(name, name, {}) for name in PRESETS]
    looks = [row(name, "captioner-small", {"model.image.attention": look}) for name, look in MECHANISMS.items()]
    ids, pixels = torch.zeros(2, 256, dtype=torch.long), torch.zeros(2, 3, 224, 224)
    others = []
    for attention in ("sdpa", "eager"):
        gpt, vit = (lambda a=attention: peers.gpt2(a)), (lambda a=attention: peers.vit(a))
        others.append(foreign(f"GPT-2 124M, {attention}", gpt, ids, peers.gpt2_by_hand(2, 256), 0))
        others.append(foreign(f"ViT-B/16, {attention}", vit, pixels, peers.vit_by_hand(2), peers.patch_map(2)))
    parts = [
        "# How exact FLOPs are\n\nWritten by `python -m benchmarks.sizing.flops docs/sizing/accuracy-flops.md`. "
        "What the columns mean: [flops.md](flops.md).",
        f"## Training steps of the presets, batch of {BATCH}\n\n{table(head, rows)}",
        "## Mechanisms in the picture's tower of captioner-small\n\n" + table(head, looks),
        "## Models of transformers, batch of 2, forward and backward\n\n"
        + table(("model", "model FLOPs by hand", "patchword", "torch's FlopCounterMode"), others),
    ]
    out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
