"""What a session ran on, for whoever wants to repeat it."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import patchword

_PACKAGES = ("torch", "numpy", "safetensors", "tokenizers", "Pillow", "simplejpeg")


def environment() -> dict[str, Any]:
    """Versions, platform, commit and command line, as plain data."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "argv": sys.argv,
        "patchword": patchword.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "threads": torch.get_num_threads(),
        "cuda": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _commit() -> str | None:
    """The commit that this package is checked out at; None: it is installed, or there is no git."""
    folder = Path(patchword.__file__).resolve().parent
    command = ["git", "-C", str(folder), "rev-parse", "--show-toplevel", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    top, commit = done.stdout.split("\n")[:2]
    return commit if Path(top).resolve() == folder.parent else None
