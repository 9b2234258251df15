"""Find the pictures of a folder that a sentence tells of: `python examples/search_pictures.py RUN FOLDER "a dog"`.

RUN is a run of `clip-tiny` or another preset that makes vectors. A folder's vectors are made once and kept beside it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import patchword

KINDS = {".jpg", ".jpeg", ".png", ".webp"}


def search(run: str, folder: str, text: str, most: int = 5) -> list[tuple[Path, float]]:
    """The pictures most like a text, each with the cosine of their vectors, the best first."""
    trained = patchword.load(run)
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in KINDS)
    kept = Path(run) / f"vectors-of-{Path(folder).resolve().name}.npz"
    known = np.load(kept) if kept.is_file() else {}
    if list(known.get("names", [])) != [path.name for path in paths]:
        vectors = trained.embed(images=paths)
        np.savez(kept, names=[path.name for path in paths], vectors=vectors)
    else:
        vectors = known["vectors"]
    alike = vectors @ trained.embed(texts=text)[0]
    return [(paths[i], float(alike[i])) for i in np.argsort(-alike, kind="stable")[:most]]


def main(arguments: Sequence[str]) -> None:
    """Print what was found."""
    run, folder, text = arguments
    for path, alike in search(run, folder, text):
        print(f"{alike:.3f}  {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
