"""`python -m benchmarks.sizing.compiled`: compiled steps; writes docs/sizing/accuracy-compiled.md.

Measured: the second step of the run's learner with compiled blocks, allocations played back from torch's profiler. Each
cell is a process of its own; what is done is kept, and a second call goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.sizing import results
from benchmarks.sizing.replay import peak_bytes

PAGE = Path(__file__).parents[2] / "docs" / "sizing" / "accuracy-compiled.md"
OUT = Path("runs/sizing/compiled.jsonl")
SMALL = {"model.text.vocab_size": 1000}

Cell = tuple[str, int, dict[str, Any]]
CELLS: list[Cell] = [
    ("captioner-tiny", 1, {}),
    ("captioner-tiny", 8, {}),
    ("captioner-tiny", 32, {}),
    ("captioner-tiny", 4, {"train.precision": "bf16"}),
    ("captioner-tiny", 4, {"train.accumulate": 2, "train.ema": 0.99}),
    ("captioner-tiny", 4, {"train.optimizer.freeze": ["towers.image.*"]}),
    ("captioner-tiny", 4, {"model.image.attention.kind": "linear", "model.trunk.attention.kind": "linear"}),
    ("captioner-tiny", 4, {"model.trunk.attention.kind": "topk"}),
    ("captioner-prefix-small", 2, {}),
    ("captioner-small", 2, {}),
    ("layout-single-stream", 8, {}),
    ("layout-dual-stream", 4, {}),
]


def main() -> None:
    """Measure what is not measured yet, then write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizing.compiled", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--cell", type=int, help="measure this one, print its row")
    options = parser.parse_args()
    if options.cell is not None:
        sys.stdout.write("\n" + json.dumps(_measured(CELLS[options.cell])) + "\n")
        return
    options.out.parent.mkdir(parents=True, exist_ok=True)
    done = results.done(options.out)
    for number, cell in enumerate(CELLS):
        if json.dumps(cell) in done:
            continue
        command = [sys.executable, "-m", "benchmarks.sizing.compiled", "--cell", str(number)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        results.add(options.out, json.loads(said.strip().rsplit("\n", 1)[-1]))
        sys.stdout.write(f"{cell}: done\n")
        sys.stdout.flush()
    PAGE.write_text(page(results.read(options.out)), encoding="utf-8")


def _measured(cell: Cell) -> dict[str, Any]:
    import patchword
    from patchword.models.create import planned_model
    from patchword.models.presets import load_config
    from patchword.training.apply import applied_to_blocks
    from patchword.training.ready import make_ready
    from patchword.training.rehearsed import RehearsedStep, compiled_training_of

    torch.set_num_threads(1)
    preset, batch, changes = cell
    run = load_config(preset, SMALL | changes | {"train.compile": True})
    predicted = compiled_training_of(run, batch).peak(without="libraries")[0]
    eager = patchword.size(run, batch=batch).peak_bytes
    torch._dynamo.reset()
    model = planned_model(run).build().train()
    make_ready(model, run.train)
    with applied_to_blocks(model, run.train):
        step = RehearsedStep(run, model, batch)

        def once() -> None:
            step.gradient()
            step.update()

        once()
        once()
        state = [t for kept in step.optimizer.state.values() for t in kept.values()]
        there = [*model.parameters(), *model.buffers(), *step.kept().values(), *step.inputs(), *state]
        kept = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in there}
        measured = peak_bytes(once) + sum(kept.values())
    return {"cell": json.dumps(cell), "predicted": predicted, "measured": measured, "eager": eager}


def page(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    off = [abs(row["predicted"] / row["measured"] - 1) for row in rows]
    lines = [
        "# Compiled steps: predicted and measured",
        "",
        "Made by `python -m benchmarks.sizing.compiled`: one training step with compiled blocks (inductor, CPU, one",
        f"thread, torch {torch.__version__}), predicted by `patchword size --compiled`, measured by playing back what",
        "torch's profiler saw allocated. **Eager**: what is predicted without `--compiled`, against the same truth.",
        "",
        f"{len(rows)} cells; worst error {max(off, default=0):.4%}, {sum(e == 0 for e in off)} equal to the byte.",
        "",
        "| preset | batch | settings | predicted, bytes | measured, bytes | error | eager |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        preset, batch, changes = json.loads(row["cell"])
        settings = ", ".join(f"`{key}={value}`" for key, value in changes.items()) or "-"
        truth, predicted, eager = row["measured"], row["predicted"], row["eager"]
        lines.append(
            f"| {preset} | {batch} | {settings} | {predicted:,} | {truth:,} | {predicted / truth - 1:+.4%} | "
            f"{eager / truth - 1:+.1%} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
