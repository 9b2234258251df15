"""Questions about pictures: train on the embedded scenes, see which kinds of question are answered, ask some.

python examples/ask_pictures.py                          # scenes
python examples/ask_pictures.py data.source=easy_vqa     # your own questions: docs/tasks/vqa.md
"""

from __future__ import annotations

import argparse

import patchword
from patchword.config import parse_overrides


def main() -> None:
    """Train, evaluate by kind of question, and ask about pictures that nobody trained on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="vqa-tiny")
    parser.add_argument("--out", default="runs/questions", help="folder of the run")
    parser.add_argument("settings", nargs="*", help="dotted settings: train.steps=100")
    arguments = parser.parse_args()

    settings = parse_overrides(arguments.settings)
    patchword.train(arguments.preset, arguments.out, **settings)
    model = patchword.load(arguments.out)

    found = model.evaluate(split="val", limit=200)
    print(f"\n{found.count} questions about pictures that were not in training:")
    for name, value in found.metrics.items():
        if name.startswith("accuracy"):
            print(f"  {name:<24} {value:.3f}")
    print("\nSome of them:")
    for said in found.predictions[:12]:
        mark = "right" if said.correct else "wrong"
        print(f"  {mark}: {said.read} {said.text} (truth: {', '.join(dict.fromkeys(said.references))})")


if __name__ == "__main__":
    main()
