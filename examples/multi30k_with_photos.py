"""Multi30k's lines whose photos are in your copy of Flickr8k, as a data set of its own: photos, sources, targets.

    python examples/multi30k_with_photos.py MULTI30K FLICKR8K OUT --source en --target de
    patchword train translator-image-tiny data.source=OUT ...        # docs/tasks/translation.md

MULTI30K holds train.en.gz, train.de.gz, ..., val.*.gz, image_splits/{train,val}.txt (the Flickr photo of each line);
FLICKR8K holds images.tar. OUT gets pairs.csv and the tar (linked where the disk can, else copied). Lines that describe
a photo of Flickr8k's test part (flickr8k_test_overlap.{train,val}.txt) are left out, should that part be there.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path


def main() -> None:
    """Write the table, link the photos, say how many lines have one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("multi30k", "flickr8k", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--source", default="en", help="language that is read")
    parser.add_argument("--target", default="de", help="language that is said")
    given = parser.parse_args()
    try:
        photos = _photos(given.flickr8k / "images.tar")
        rows = [row for split in ("train", "val") for row in _rows(given, split, photos)]
    except OSError as error:
        sys.exit(f"{error.filename}: {error.strerror}")
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "pairs.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "source", "target", "split"), *rows])
    _link(given.flickr8k / "images.tar", given.out / "images.tar")
    for split in ("train", "val"):
        print(f"{split}: {sum(row[3] == split for row in rows)} lines with a photo")


def _photos(tar: Path) -> dict[str, str]:
    """Names of photos by their Flickr id."""
    with tarfile.open(tar) as archive:
        names = [name for name in archive.getnames() if name.endswith(".jpg")]
    return {Path(name).name.split("_")[0]: name for name in names}


def _rows(given: argparse.Namespace, split: str, photos: dict[str, str]) -> Iterator[tuple[str, str, str, str]]:
    ids = [line.removesuffix(".jpg") for line in _lines(given.multi30k / "image_splits" / f"{split}.txt")]
    texts = [_lines(given.multi30k / f"{split}.{language}.gz") for language in (given.source, given.target)]
    held_out = {int(line) for line in _lines(given.multi30k / f"flickr8k_test_overlap.{split}.txt") if line}
    for number, (photo, source, target) in enumerate(zip(ids, *texts, strict=True), 1):
        if photo in photos and number not in held_out:
            yield photos[photo], source, target, split


def _lines(path: Path) -> list[str]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return data.decode().rstrip("\n").split("\n")


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


if __name__ == "__main__":
    main()
