"""The baseline that sees and knows nothing: one caption, the commonest in training, for every picture.

python -m benchmarks.commonest FOLDER [--split val]
"""

from __future__ import annotations

import argparse
from collections import Counter

from patchword.config import CaptioningTaskConfig, DataConfig
from patchword.data.sources import open_source
from patchword.tasks.metrics import bleu, caption_words, cider_d


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--split", default="val")
    arguments = parser.parse_args()
    source = open_source(DataConfig(source=arguments.source), CaptioningTaskConfig().fields)
    train, split = source.splits["train"], source.splits[arguments.split]
    seen = Counter(" ".join(caption_words(c)) for i in range(len(train)) for c in train.record(i).texts["caption"])
    caption, times = seen.most_common(1)[0]
    references = [split.record(i).texts["caption"] for i in range(len(split))]
    said = [caption] * len(references)
    print(f"{caption!r}, {times} times in train; on {len(references)} pictures of {arguments.split}:")
    print(f"  cider_d {cider_d(said, references).mean:.4f}  bleu4 {bleu(said, references)['bleu4']:.2f}")


if __name__ == "__main__":
    main()
