"""Do the tests see what they should? Each mutant is the package with one mistake; some test must fail for each.

    python tests/mutants.py              # all of them, some minutes
    python tests/mutants.py cache mask   # those whose name contains one of these words

Works on a copy in a temporary folder. Prints one line a mutant and ends with 1 if one survived. Pytest does not collect
this file; `test_mutants.py` checks that every mistake can still be made.
"""
# ruff: noqa: T201 - a script

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mutations import MUTANTS, Mutant
from mutations_of_blocks import BLOCK_MUTANTS
from mutations_of_convert import CONVERT_MUTANTS
from mutations_of_flops import FLOPS_MUTANTS
from mutations_of_fusion import FUSION_MUTANTS
from mutations_of_inputs import INPUT_MUTANTS
from mutations_of_kernels import KERNEL_MUTANTS
from mutations_of_positions import POSITION_MUTANTS
from mutations_of_runs import RUN_MUTANTS

ROOT = Path(__file__).resolve().parents[1]
ALL = (
    *MUTANTS,
    *BLOCK_MUTANTS,
    *CONVERT_MUTANTS,
    *FLOPS_MUTANTS,
    *FUSION_MUTANTS,
    *INPUT_MUTANTS,
    *KERNEL_MUTANTS,
    *POSITION_MUTANTS,
    *RUN_MUTANTS,
)


def copy(target: Path) -> None:
    """The package, its tests and their settings."""
    skip = shutil.ignore_patterns("__pycache__")
    for folder in ("patchword", "tests"):
        shutil.copytree(ROOT / folder, target / folder, ignore=skip)
    shutil.copy(ROOT / "pyproject.toml", target)


def run_tests(folder: Path, tests: tuple[str, ...]) -> tuple[bool, str]:
    """Whether all pass in this copy, and the first that does not."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "--tb=no", "-rf", "-m", "not slow", *tests]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):  # not a failed test: the run itself is broken, which proves nothing
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    first = next((line for line in done.stdout.splitlines() if line.startswith("FAILED")), "")
    return done.returncode == 0, first.removeprefix("FAILED ")[:150]


def try_mutant(folder: Path, mutant: Mutant) -> tuple[bool, str]:
    """Whether its tests see the mistake, and which does first."""
    path = folder / "patchword" / mutant.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutant.right) != 1:
        raise RuntimeError(f"{mutant.name}: {mutant.file} should hold {mutant.right!r} once")
    path.write_text(text.replace(mutant.right, mutant.wrong), encoding="utf-8")
    try:
        passed, first = run_tests(folder, mutant.tests)
    finally:
        path.write_text(text, encoding="utf-8")
    return not passed, first


def main(words: list[str]) -> int:
    """Try the mutants whose name contains one of the words (none: all); how many survived, at most 1."""
    chosen = [m for m in ALL if not words or any(word in m.name for word in words)]
    survived = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy(folder)
        passed, first = run_tests(folder, tuple(sorted({test for m in chosen for test in m.tests})))
        if not passed:
            print(f"without any mistake a test fails: {first}")
            return 1
        for mutant in chosen:
            start = time.monotonic()
            caught, first = try_mutant(folder, mutant)
            outcome = "caught  " if caught else "SURVIVED"
            print(f"{outcome}  {time.monotonic() - start:5.1f} s  {mutant.name}  ({first})", flush=True)
            survived += [] if caught else [mutant.name]
    print(f"{len(chosen) - len(survived)} of {len(chosen)} caught")
    return bool(survived)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
