"""All cells: models by settings by batches. A group of them shares a process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.sizing.foreign import ForeignModule
from benchmarks.sizing.foreign_models import MODELS
from benchmarks.sizing.measure import Subject
from benchmarks.sizing.ours import Generation, Inference, Training


class Cell(NamedTuple):
    """One model in one setting."""

    model: str
    setting: str
    batch: int
    make: Callable[[], Subject]

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return f"{self.model} | {self.setting} | {self.batch}"


PRESETS = (
    "captioner-tiny",
    "captioner-small",
    "captioner-prefix-small",
    "layout-single-stream",
    "layout-dual-stream",
    "layout-merged-attention",
    "layout-late-fusion",
)
"""Those that train on this kind of machine; captioner-base needs 4 GB at the least batch."""

_FREEZE = {"train.optimizer.freeze": ["towers.image.*"]}
SETTINGS: dict[str, dict[str, Any]] = {
    "not clipped": {"train.clip": None},
    "frozen tower": _FREEZE,
    "checkpointed blocks": {"train.checkpoint_blocks": True},
    "accumulation of 3": {"train.accumulate": 3},
    "running mean": {"train.ema": 0.99},
    "bf16": {"train.precision": "bf16"},
    "all of these but bf16": {
        "train.clip": None,
        **_FREEZE,
        "train.checkpoint_blocks": True,
        "train.accumulate": 2,
        "train.ema": 0.99,
    },
}

MECHANISMS = ("sparse", "topk", "linear", "performer", "reformer", "differential")
"""Other than softmax, in both towers of captioner-tiny; linformer, which cannot be causal, in the picture's alone."""


def _both(kind: str) -> dict[str, Any]:
    return {"model.image.attention.kind": kind, "model.trunk.attention.kind": kind}


def quick() -> list[Cell]:
    """One of each kind, small: for tests."""
    small = {"model.text.vocab_size": 300, "model.image.dim": 64, "model.text.dim": 64, "model.trunk.dim": 64}
    checkpointed = {"train.checkpoint_blocks": True, "train.accumulate": 2, "train.ema": 0.99}
    return [
        _ours(Training, "captioner-tiny", "training", 2, small),
        _ours(Training, "layout-single-stream", "checkpointed, accumulated, mean kept", 2, small | checkpointed),
        _ours(Inference, "captioner-tiny", "inference", 3, small),
        _ours(Generation, "captioner-tiny", "generation", 2, small | {"task.decode.max_len": 6}),
        Cell("LSTM, 2 layers", "training", 4, lambda: ForeignModule("LSTM, 2 layers", "train", 4)),
        Cell("grouped conv net", "training", 2, lambda: ForeignModule("grouped conv net", "train", 2)),
        Cell("conv stem + encoder", "training", 1, lambda: ForeignModule("conv stem + encoder", "train", 1)),
        Cell("torch encoder", "inference", 2, lambda: ForeignModule("torch TransformerEncoder", "inference", 2)),
    ]


def groups() -> dict[str, list[Cell]]:
    """Cells by the process that runs them."""
    found: dict[str, list[Cell]] = {}
    for preset in PRESETS:
        batches = (1, 2, 3) if "small" in preset else (1, 2, 3, 8)
        cells = [_ours(Training, preset, "training", batch) for batch in batches]
        cells += [_ours(Inference, preset, "inference", batch) for batch in batches[1:]]
        cells += [_ours(Generation, preset, "generation", batch) for batch in batches[:2]]
        found[preset] = cells
    found["settings"] = [
        _ours(Training, preset, name, batch, changes)
        for preset in ("captioner-tiny", "captioner-prefix-small")
        for name, changes in SETTINGS.items()
        for batch in ((2, 8) if preset == "captioner-tiny" else (2,))
    ]
    mechanisms = {kind: _both(kind) for kind in MECHANISMS} | {"linformer": {"model.image.attention.kind": "linformer"}}
    found["mechanisms"] = [
        _ours(subject, "captioner-tiny", f"{name}, {kind}", batch, changes)
        for kind, changes in mechanisms.items()
        for subject, name, batch in ((Training, "training", 2), (Training, "training", 5), (Inference, "inference", 3))
    ]
    names = list(MODELS)
    for start in range(0, len(names), 4):
        found[f"foreign {start // 4 + 1}"] = [cell for name in names[start : start + 4] for cell in _foreign(name)]
    return found


def _ours(kind: Any, preset: str, setting: str, batch: int, changes: dict[str, Any] | None = None) -> Cell:
    return Cell(preset, setting, batch, lambda: kind(preset, batch, changes or {}))


def _foreign(name: str) -> list[Cell]:
    cells = [Cell(name, "training", batch, lambda batch=batch: ForeignModule(name, "train", batch)) for batch in (1, 4)]
    cells.append(Cell(name, "inference", 3, lambda: ForeignModule(name, "inference", 3)))
    if name == "HF GPT-2":
        for optimizer in ("foreach AdamW", "single-tensor AdamW", "SGD with momentum"):
            cells.append(
                Cell(name, optimizer, 2, lambda optimizer=optimizer: ForeignModule(name, "train", 2, optimizer))
            )
    if name in ("HF GPT-2", "HF ViT", "torch TransformerEncoder"):
        cells.append(Cell(name, "bf16", 2, lambda: ForeignModule(name, "train", 2, bf16=True)))
    return cells
