"""The doctor: reads a data set from end to end before a training does, and says what is wrong with it."""

from __future__ import annotations

import hashlib
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from patchword.config import DataConfig
from patchword.data.base import Split
from patchword.data.decode import BadImage, decode
from patchword.data.file_source import NotedSource, Notes
from patchword.data.findings import EXAMPLES, SHORT, Finding, Report, SplitFacts, Spread
from patchword.data.sources import open_source

_FORMATS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}


def check(config: DataConfig, limit: int | None = None, progress: Callable[[int, int], None] | None = None) -> Report:
    """Read every picture and every caption of a data set.

    The same picture in two splits is reported as a problem but leaves the report `ok`, for it stops no training.

    Args:
        config: Names the data set.
        limit: Read at most this many pictures, spread evenly over all splits; duplicates are looked for among these.
        progress: Told (pictures read, pictures to read) after each.

    Raises:
        patchword.config.UserError: the data set cannot be opened at all.
    """
    source = open_source(config)
    examination = _Examination(config.image.max_pixels)
    count = sum(map(len, source.splits.values()))
    step = 1.0 if limit is None else max(1.0, count / max(1, limit))
    total = count if limit is None else min(count, max(0, limit))
    place, done = 0, 0
    for split in source.splits.values():
        for index in range(len(split)):
            name = examination.captions_of(split, index)
            # evenly: picture number `place` is read when it is the first at or after a multiple of `step`
            if done < total and place >= done * step:
                examination.picture_of(split, index, name)
                done += 1
                if progress is not None:
                    progress(done, total)
            place += 1
    return examination.report(config, source)


class _Examination:
    """What is gathered on the way through a data set."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._bad: dict[str, Finding] = {}
        self._repeated = Finding("duplicate captions")
        self._splits_of: dict[str, list[str]] = defaultdict(list)
        self._same: dict[bytes, list[tuple[str, str]]] = defaultdict(list)
        self._sizes: list[tuple[int, int]] = []
        self._formats: Counter[str] = Counter()
        self._words: list[int] = []
        self._captions: Counter[str] = Counter()
        self._checked = 0

    def captions_of(self, split: Split, index: int) -> str:
        """Note the captions of a record, and return its name."""
        record = split.record(index)
        self._splits_of[record.id].append(split.name)
        self._captions[split.name] += len(record.captions)
        self._words += [len(caption.split()) for caption in record.captions]
        repeated = [caption for caption, times in Counter(record.captions).items() if times > 1]
        if repeated:
            self._repeated.add(f"{record.id}: {repeated[0]!r}")
        return record.id

    def picture_of(self, split: Split, index: int, name: str) -> None:
        """Read the picture of a record of that name."""
        self._checked += 1
        try:
            picture = split.read(index)
            pixels = picture if isinstance(picture, np.ndarray) else decode(picture, self._max_pixels)
        except BadImage as error:
            self._bad.setdefault(error.reason, Finding(error.reason)).add(f"{name}: {error.message}")
            return
        self._sizes.append((pixels.shape[1], pixels.shape[0]))
        self._formats[_format(picture)] += 1
        self._same[_digest(picture)].append((split.name, name))

    def report(self, config: DataConfig, source: NotedSource) -> Report:
        """Everything that was noted."""
        bad = sum(problem.count for problem in self._bad.values())
        allowed = config.bad_samples.max_share if config.bad_samples.policy == "skip" else 0.0
        problems = [*self._bad.values(), *self._doubles(), self._repeated, *_left_out(source.notes)]
        widths, heights = zip(*self._sizes, strict=True) if self._sizes else ((), ())
        return Report(
            source=source.name,
            ok=bad <= allowed * self._checked,
            count=sum(map(len, source.splits.values())),
            checked=self._checked,
            bad=bad,
            allowed_share=allowed,
            problems=[problem for problem in problems if problem.count],
            splits={name: SplitFacts(len(split), self._captions[name]) for name, split in source.splits.items()},
            widths=_spread(widths),
            heights=_spread(heights),
            formats=dict(self._formats.most_common()),
            caption_words=_spread(self._words),
            short_captions=sum(words < SHORT for words in self._words),
            in_no_split=len(source.notes.in_no_split),
            not_in_table=source.notes.not_in_table,
        )

    def _doubles(self) -> tuple[Finding, Finding]:
        """The same picture under two names, and in two splits."""
        twice, leaks = Finding("duplicate pictures"), Finding("split leakage")
        for name, splits in self._splits_of.items():
            if len(splits) > 1:
                leaks.add(f"{name} in {' and '.join(splits)}")
        for places in self._same.values():
            names = dict.fromkeys(name for _, name in places)
            if len(names) == 1:
                continue
            twice.add(" = ".join(names))
            if len({split for split, _ in places}) > 1:
                leaks.add(" = ".join(f"{name} in {split}" for split, name in places))
        return twice, leaks


def _left_out(notes: Notes) -> Iterator[Finding]:
    for kind, names in (
        ("empty captions", notes.empty_captions),
        ("pictures with empty captions only", notes.without_captions),
        ("listed but not in the table", notes.listed_only),
    ):
        yield Finding(kind, len(names), list(names[:EXAMPLES]))


def _digest(picture: bytes | np.ndarray) -> bytes:
    content = picture if isinstance(picture, bytes) else str(picture.shape).encode() + picture.tobytes()
    return hashlib.blake2b(content, digest_size=16).digest()


def _format(picture: bytes | np.ndarray) -> str:
    if not isinstance(picture, bytes):
        return "drawn"
    return next((name for start, name in _FORMATS.items() if picture.startswith(start)), "other")


def _spread(numbers: Sequence[int]) -> Spread:
    if not numbers:
        return Spread(0, 0, 0, 0)
    return Spread(min(numbers), statistics.median(numbers), statistics.fmean(numbers), max(numbers))
