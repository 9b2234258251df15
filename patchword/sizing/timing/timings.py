"""The table of what this machine's operations take: one JSON file for each processor, torch and number of threads."""

from __future__ import annotations

import json
import os
import platform
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from patchword.config import UserError
from patchword.sizing.timing.unique import Timing

VARIABLE = "PATCHWORD_CACHE"
"""Environment variable that names the folder."""
_FORMAT = 2


def folder() -> Path:
    """Where tables are kept: `$PATCHWORD_CACHE`, else `patchword` in the user's cache folder."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "patchword"


def processor() -> str:
    """Its name as the system tells it, and its vector unit."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    told = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in reversed(lines)}
    parts = [told[key] for key in ("model name", "cpu family", "model", "stepping") if key in told]
    name = " ".join(parts) or platform.processor() or platform.machine()
    return f"{name} {torch.backends.cpu.get_cpu_capability()}"


@dataclass
class Timings:
    """Seconds of operations on this machine."""

    path: Path
    operations: dict[str, Timing] = field(default_factory=dict)
    """By signature."""
    refused: dict[str, str] = field(default_factory=dict)
    """Signatures that cannot be remade, and why."""
    overheads: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Seconds that the program adds to each operation, least and most, by phase; `inference`: forward alone."""
    shares: dict[str, tuple[float, float]] = field(default_factory=dict)
    """What whole steps take as a share of their sum of both, least and most, by the same names."""

    @classmethod
    def load(cls, threads: int) -> Timings:
        """The table of this machine for so many threads; empty where nothing was timed yet.

        Raises:
            UserError: the file is no such table.
        """
        slug = re.sub(r"[^A-Za-z0-9.+]+", "-", f"{processor()} torch {torch.__version__} {threads} threads")
        path = folder() / f"timings-{slug}.json"
        try:
            read: Any = json.loads(path.read_text(encoding="utf-8"))
            if read["format"] != _FORMAT:
                return cls(path)
            operations = {signature: Timing(*found) for signature, found in read["operations"].items()}
            overheads, shares = (
                {k: (low, high) for k, (low, high) in read[of].items()} for of in ("overheads", "shares")
            )
            return cls(path, operations, dict(read["refused"]), overheads, shares)
        except FileNotFoundError:
            return cls(path)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is no table of timings: delete it and calibrate again") from error

    def save(self) -> None:
        """Write it so that who reads meanwhile finds the old or the new one, whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        plain = {
            "format": _FORMAT,
            "processor": processor(),
            "torch": torch.__version__,
            "operations": self.operations,
            "refused": self.refused,
            "overheads": self.overheads,
            "shares": self.shares,
        }
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        beside.write_text(json.dumps(plain), encoding="utf-8")
        beside.replace(self.path)
