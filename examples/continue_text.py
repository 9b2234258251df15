"""A language model of running text: train on the embedded captions or on your own text, and let it go on.

python examples/continue_text.py                                                            # captions of scenes
python examples/continue_text.py --preset gpt-fast --begin ROMEO: data.source=input.txt     # characters of a play
"""

from __future__ import annotations

import argparse

import patchword
from patchword.config import parse_overrides


def main() -> None:
    """Train, measure, and continue a beginning."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="gpt-tiny")
    parser.add_argument("--out", default="runs/text", help="folder of the run")
    parser.add_argument("--begin", default="a red", help="how the text begins")
    parser.add_argument("settings", nargs="*", help="dotted settings: train.steps=100")
    arguments = parser.parse_intermixed_args()

    settings = parse_overrides(arguments.settings)
    if arguments.preset == "gpt-tiny" and "data.source" not in settings:
        settings |= {"data.tokenizer.vocab_size": 512, "model.text.max_len": 64}  # captions are short, their words few
    patchword.train(arguments.preset, arguments.out, **settings)
    model = patchword.load(arguments.out)

    found = model.evaluate(split="val")
    print("\nOf text that was not in training:")
    for name, value in found.metrics.items():
        print(f"  {name:<14} {value:.3f}")
    print(f"\n{model.predict(text=arguments.begin)[0].text}")


if __name__ == "__main__":
    main()
