"""`python -m benchmarks.sizing.speed`: how long sizing itself takes, and how much memory; writes docs/sizing/speed.md.

Every preset in a process of its own, and a Llama of 7B parameters (transformers; bf16, 2,048 tokens, a training step).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "sizing" / "speed.md"
LLAMA = "llama-7b"


def main() -> None:
    """Measure all, write the page."""
    if len(sys.argv) > 1:
        sys.stdout.write("\n" + json.dumps(_measured(sys.argv[1])) + "\n")
        return
    from patchword.models.presets import PRESETS

    rows = []
    for name in (*PRESETS, LLAMA):
        command = [sys.executable, "-m", "benchmarks.sizing.speed", name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows.append({"name": name, **json.loads(said.strip().rsplit("\n", 1)[-1])})
        sys.stdout.write(f"{rows[-1]}\n")
        sys.stdout.flush()
    PAGE.write_text(page(rows), encoding="utf-8")


def _measured(name: str) -> dict[str, Any]:
    import torch
    import torch._dynamo

    import patchword.costs

    def size() -> Any:
        return patchword.size(name)

    if name == LLAMA:
        import transformers

        config = transformers.LlamaConfig(
            hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=32000
        )
        with torch.device("meta"):
            model = transformers.LlamaForCausalLM(config).bfloat16()
        ids = torch.zeros(1, 2048, dtype=torch.long)

        def size() -> Any:
            return patchword.size(model, inputs={"input_ids": ids, "labels": ids, "use_cache": False})

    before, times = _memory(), []
    for _ in range(2):
        start = perf_counter()
        found = size()
        times.append(perf_counter() - start)
    return {"first": times[0], "again": times[1], "mib": _memory() - before, "parameters": found.total.parameters}


def _memory() -> float:
    """The most this process has held so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def page(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    import torch

    lines = [
        "# How long sizing takes",
        "",
        "Made by `python -m benchmarks.sizing.speed`: `patchword.size(...)` of a training step, each in a process of",
        "its own, after the import of `patchword.costs` and torch's compiler. The first call finds all shapes anew;",
        f"**again** is another call in the same process. torch {torch.__version__}.",
        "",
        "| what | parameters | first, s | again, s | memory beyond import, MiB |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['name']} | {row['parameters']:,} | {row['first']:.2f} | {row['again']:.2f} | {row['mib']:.0f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
