"""From nothing to a trained captioner: train on the embedded data set, measure it, show it, write a report."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import patchword
from patchword.data.scenes import SceneWorld


def main() -> None:
    """Train, evaluate, show; every figure printed was measured just now."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="runs/quickstart", help="folder of the run")
    parser.add_argument("settings", nargs="*", help="dotted settings: train.steps=100")
    arguments = parser.parse_args()
    started = time.monotonic()
    out = _free(Path(arguments.out))

    patchword.train("captioner-tiny", out, report=False, **_settings(arguments.settings))
    trained = patchword.load(out)
    results = trained.report(("test", "novel"))
    print("\nHow good it is (share of captions that name every object with its right attributes and nothing else):")
    for split, what in (
        ("test", "unseen scenes"),
        ("novel", "shapes in colours never seen together in training"),
    ):
        print(f"  {split:<6}{_accuracies(results[split].metrics)}  ({what})")

    print("\nWhat it says of unseen pictures:")
    world = SceneWorld()
    scenes = [world.scene("test", 1000 + i) for i in range(6)]
    for scene, said in zip(scenes, trained.predict([world.draw(s) for s in scenes]), strict=True):
        mark = "right" if world.describes(scene, said.text) else "wrong"
        print(f"  {mark}: {said.text}\n         truth: {world.captions(scene)[0]}")
    print(f"\nReport: {out / 'report.html'}\nTook {time.monotonic() - started:.0f} s.")
    print(f"Try: patchword evaluate {out} --split novel")


def _settings(words: list[str]) -> dict[str, object]:
    from patchword.config import parse_overrides

    return parse_overrides(words)


def _accuracies(metrics: dict[str, float]) -> str:
    names = [name for name in metrics if name.startswith("scene_accuracy")]
    return "  ".join(f"{name} {metrics[name]:.3f}" for name in names)


def _free(folder: Path) -> Path:
    """`folder`, or the first of folder-2, folder-3, ... that is not taken: nothing of an earlier run is lost."""
    number, free = 1, folder
    while free.exists() and any(free.iterdir()):
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free


if __name__ == "__main__":
    main()
