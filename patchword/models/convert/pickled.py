"""Foreign `.pt` and `.bin` files, read in a child process that can do no harm."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from patchword.config import UserError
from patchword.models.convert import unpickle
from patchword.models.convert.keymap import Weights

MEMORY = 8 * 2**30
"""Bytes of address space that a child may have beside three times the file: torch itself takes some."""
SECONDS = 600
"""How long it may take."""
_SAYING = ("MemoryError", "OSError", "OverflowError", "RuntimeError", "TypeError")
"""Exceptions that tell what is wrong; others (KeyError: 1785425525) tell of the inside of a reader."""


def read_pickled(path: Path, memory: int | None = None, seconds: float = SECONDS) -> tuple[Weights, dict[str, Any]]:
    """The tensors of a file, and the plain data that stands beside them.

    Args:
        path: a file of `torch.save`: named tensors, or a checkpoint with `model`, `state_dict` or `model_state_dict`.
        memory: bytes of address space for the child; None: `MEMORY`, and three times the file.
        seconds: how long it may take.

    Raises:
        UserError: it holds anything but tensors and plain data, is damaged, or needs more than that.
    """
    allowed = memory if memory is not None else MEMORY + 3 * path.stat().st_size
    with tempfile.TemporaryDirectory() as folder:
        limits = [str(allowed), str(max(int(seconds), 1))]
        command = [sys.executable, "-I", unpickle.__file__, str(path), folder, *limits]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired as error:
            raise UserError(f"{path}: reading it took longer than {seconds:g} s") from error
        if done.returncode:
            raise UserError(f"{path}: cannot be read: {_reason(done)}")
        about = json.loads((Path(folder) / "about.json").read_text(encoding="utf-8"))
        return load_file(Path(folder) / "weights.safetensors"), about


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
    if done.returncode < 0 or not lines:
        return f"reading it took too much memory or time (the child ended with {done.returncode})"
    last = lines[-1]
    if "weights" in last.lower() or "Unpickl" in last:
        return f"it is damaged, or holds more than tensors and plain data, which could run code ({last.split(':')[0]})"
    kind, _, said = last.partition(": ")
    return last if kind in _SAYING and said else f"it is damaged, or was not written by torch.save ({kind.rstrip(':')})"
