"""The child process that reads a foreign `.pt` or `.bin` file: `python unpickle.py SOURCE OUT BYTES SECONDS`.

It runs alone, with limits on memory and time, lets torch read tensors and plain data only, and writes them as
safetensors and JSON. It imports nothing of the package, so that it can be started by its path.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_STATES = ("model", "state_dict", "model_state_dict")  # where checkpoints keep their weights


def limit(memory: int, seconds: int) -> None:
    """No more address space and processor time than that, no files larger than that memory, no core dumps."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def plain(value: Any) -> Any:
    """What JSON can hold of it; tensors and the rest become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool) else None


def main(source: str, out: Path) -> None:
    """Read one file and write `weights.safetensors` and `about.json`."""
    import torch
    from safetensors.torch import save_file

    data: Any = torch.load(source, map_location="cpu", weights_only=True)
    if not isinstance(data, Mapping):
        raise TypeError(f"holds {type(data).__name__}, not named tensors")
    state: Any = next((data[name] for name in _STATES if isinstance(data.get(name), Mapping)), data)
    tensors = {str(n): t.detach().contiguous().clone() for n, t in state.items() if isinstance(t, torch.Tensor)}
    if not tensors:
        raise TypeError("holds no named tensors")
    about = {} if state is data else {str(n): plain(v) for n, v in data.items() if v is not state and n != "optimizer"}
    save_file(tensors, out / "weights.safetensors")
    (out / "about.json").write_text(json.dumps(about), encoding="utf-8")


if __name__ == "__main__":
    limit(int(sys.argv[3]), int(sys.argv[4]))
    try:
        main(sys.argv[1], Path(sys.argv[2]))
    except Exception as error:  # one line for the parent to pass on
        sys.exit(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}")
