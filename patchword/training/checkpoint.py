"""Checkpoints of a training: `checkpoints/step-00000100/`, each whole or not there at all.

model.safetensors      weights
optimizer.safetensors  `quantity:parameter name`
ema.safetensors        running mean of the weights, where there is one
rng.safetensors        torch's random state: `cpu`, `cuda`
state.json             `TrainState`
checksums.json         SHA-256 of the others
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch

from patchword.training.files import damage, whole_folder
from patchword.training.learner import Learner
from patchword.training.state import TrainState
from patchword.training.weights import load_tensors, save_tensors

_PREFIX, _DAMAGED = "step-", ".damaged"


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: where they are.
        keep: how many of the latest are kept.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep
        self._tried = time.monotonic()

    def overdue(self, minutes: float | None) -> bool:
        """Whether a checkpoint was last tried (at first: this session began) that long ago; never with None."""
        return minutes is not None and time.monotonic() - self._tried >= minutes * 60

    def all(self) -> list[Path]:
        """Every checkpoint, oldest first, damaged or not."""
        return sorted(p for p in self.folder.glob(_PREFIX + "*") if p.name.removeprefix(_PREFIX).isdigit())

    def newest(self, say: Callable[[str], None]) -> Path | None:
        """The newest whole checkpoint; None: there is none. Damaged ones are told of and put aside."""
        for path in reversed(self.all()):
            wrong = damage(path)
            if wrong is None:
                return path
            aside = path.with_name(path.name + _DAMAGED)
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            say(f"checkpoint {path} cannot be used: {wrong}; it is now {aside.name}, the one before is taken")
        return None

    def save(self, learner: Learner, state: TrainState) -> Path:
        """Write a checkpoint, then remove the oldest ones.

        Raises:
            OSError: the disk is full, or not writable; all older checkpoints are then still there.
        """
        self._tried = time.monotonic()  # tried: a full disk is not to be told of at every step
        path = self.folder / f"{_PREFIX}{state.step:08d}"
        with whole_folder(path) as folder:
            learner.save(folder)
            save_tensors(random_state(learner.device), folder / "rng.safetensors")
            text = json.dumps(state.to_dict(), indent=2, ensure_ascii=False)
            (folder / "state.json").write_text(text + "\n", encoding="utf-8")
        for old in self.all()[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)
        return path


def load_state(path: Path) -> TrainState:
    """The state that a checkpoint holds."""
    return TrainState.from_dict(json.loads((path / "state.json").read_text(encoding="utf-8")))


def random_state(device: str) -> dict[str, torch.Tensor]:
    """The state of torch's random numbers, on the CPU and on the device."""
    state = {"cpu": torch.get_rng_state()}
    if device != "cpu":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(path: Path, device: str) -> None:
    """Continue the random numbers of a checkpoint; on a kind of device that it did not know, those of the seed."""
    state = load_tensors(path / "rng.safetensors")
    torch.set_rng_state(state["cpu"])
    if device != "cpu" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
