"""Photos from their files to the size that a model reads."""

from __future__ import annotations

import io
import itertools
import sys
import tarfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.rows import Contest
from patchword.config import ImageConfig
from patchword.data.image import ImagePipeline

PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "flickr8k" / "images.tar"
COUNT = 200


def pictures() -> list[Contest]:
    """Small real photos, where they are there, and larger ones made here."""
    contests = []
    if PHOTOS.exists():
        contests.append(_resizing("photos of 128 x 128", _from_tar(PHOTOS, COUNT), 112))
    else:
        print(f"no photos in {PHOTOS.parent}: only pictures made here are measured", file=sys.stderr)
    contests.append(_resizing("made pictures of 640 x 480", _made(480, 640, 24), 224))
    return contests


def _from_tar(path: Path, count: int) -> list[bytes]:
    with tarfile.open(path) as archive:
        members = (archive.extractfile(member) for member in archive if member.name.endswith(".jpg"))
        return [file.read() for file in itertools.islice(members, count) if file is not None]


def _made(height: int, width: int, count: int) -> list[bytes]:
    """JPEG files with detail at all scales, as photos have."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        total = np.zeros((height, width, 3))
        for side in (4, 16, 64, 256):
            noise = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
            total += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC), dtype=float) / side**0.5
        total *= 255 / total.max()
        file = io.BytesIO()
        Image.fromarray(total.astype(np.uint8)).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def _resizing(what: str, files: list[bytes], side: int) -> Contest:
    pipeline = ImagePipeline(ImageConfig(height=side, width=side, resize="stretch"), seed=0)

    def ours() -> list[torch.Tensor]:
        return [pipeline(data, str(index), None) for index, data in enumerate(files)]

    def theirs() -> list[torch.Tensor]:
        return [_with_pillow(data, side) for data in files]

    gap = torch.stack([(a.int() - b.int()).abs().float() for a, b in zip(ours(), theirs(), strict=True)])
    size = f"{sum(map(len, files)) / len(files) / 1000:.0f} kB a file"
    facts = {"": size, "pixels differ by (of 255)": f"{gap.mean():.2f} on average, at most {gap.max():.0f}"}
    return Contest(f"JPEG to {side} px, {len(files)} {what}", "Pillow", ours, theirs, 9, facts)


def _with_pillow(data: bytes, side: int) -> torch.Tensor:
    image = Image.open(io.BytesIO(data)).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
