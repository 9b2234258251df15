"""Choices for data: where samples come from, how pictures and text are prepared, how batches are made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from patchword.config.core import Config
from patchword.config.errors import Problem
from patchword.config.numbers import Count, Positive, Share
from patchword.config.tokenizers import BPETokenizerConfig, TokenizerConfig


class ColumnsConfig(Config):
    """Which column of the table holds what."""

    image: str | None = None
    """The picture's path, or in parquet its bytes; null: a column named image, img, image_path, file_name, filename,
    path, file, image_id or img_id."""
    caption: str | None = None
    """The caption, or a list of them; null: a column named caption, captions, text or sentence. Where columns NAME_0 to
    NAME_9 are there, all of them are captions. Names that are not chosen here match in any case."""
    question: str | None = None
    """The question; null: a column named question or questions."""
    answer: str | None = None
    """Its answer, or a list of what several people answered; null: a column named answer or answers."""
    answer_separator: str | None = None
    """What stands between several answers in one cell ("; "); null: a cell is one answer."""
    question_type: str | None = None
    """What kind of question it is, for figures by kind; null: a column named question_type, where there is one."""
    label: str | None = None
    """The class, as text or a whole number; null: a column named label, labels, class or category."""
    source: str | None = None
    """The text to translate; null: a column named source or src. Of two files of text (train.en, train.de): how the
    name of the one ends, en."""
    target: str | None = None
    """Its translation; null: a column named target or tgt. Of two files of text: how the name of the other ends."""
    text: str | None = None
    """Running text for language modelling; null: a column named text, content, document, caption, captions or
    sentence."""
    split: str | None = None
    """The split's name; null: a column named split, where there is one."""


class SplitsConfig(Config):
    """Which pictures are for training and which are not; always whole pictures with all their captions."""

    lists: dict[str, str] = field(default_factory=dict)
    """A file of picture names a split, relative to the source: {train: train.txt, val: dev.txt}; training means train;
    dev, valid and validation mean val. A name in it is a picture's path or the end of one."""
    val: Share = 0.1
    """Share of pictures for validation, where no list, column or name says; of those for training, where names say no
    more than these."""
    test: Share = 0.0
    """Share of pictures for testing, likewise."""
    seed: Count = 0
    """Seed of that choice."""

    def problems(self) -> Iterator[Problem]:
        """Shares of more than there is (with exactly 1, all of it is for evaluation)."""
        if self.val + self.test > 1:
            yield Problem("val", f"val {self.val} and test {self.test} are more than the whole")


class AugmentConfig(Config):
    """Random changes to training pictures, each drawn from (seed, epoch, index) alone."""

    crop: Annotated[float, Gt(0), Le(1)] = 1.0
    """Least share of the area that a random crop keeps; 1: no crop."""
    ratio: Annotated[float, Ge(1)] = 1.0
    """Most that the crop's aspect ratio is stretched or squeezed."""
    flip: Share = 0.0
    """Chance of a mirror image (wrong for captions that say left and right)."""
    brightness: Share = 0.0
    """Most that brightness changes, as a share."""
    contrast: Share = 0.0
    """Most that contrast changes, as a share."""
    saturation: Share = 0.0
    """Most that saturation changes, as a share."""
    shift: Share = 0.0
    """Most that the picture moves along each side, as a share of it; edges repeat."""

    def problems(self) -> Iterator[Problem]:
        """A stretched crop without a crop."""
        if self.ratio > 1 and self.crop == 1:
            yield Problem("ratio", f"{self.ratio} stretches nothing without a crop: set crop below 1")


class ImageConfig(Config):
    """How a file becomes pixels."""

    height: Positive = 64
    """Rows of the result, in pixels (with `fit`: at most)."""
    width: Positive = 64
    """Columns of the result, in pixels (with `fit`: at most)."""
    resize: Literal["stretch", "crop", "pad", "fit"] = "crop"
    """stretch: ignore the aspect ratio; crop: fill, cut the overhang; pad: fit inside, pad with grey (127); fit: fit
    inside, keep the aspect ratio, pictures of a batch may differ. All of them also enlarge small pictures."""
    multiple: Positive = 8
    """With `fit`, sides are rounded to a multiple of this (the patch size)."""
    max_pixels: Positive = 50_000_000
    """Files with more pixels are refused before they are decoded."""
    cache: Literal["none", "memory", "disk"] = "none"
    """Where decoded and resized pictures are kept (cropping augmentations need the resized whole). memory: without
    bound, one cache a worker process; disk: in $XDG_CACHE_HOME/patchword/pictures (or under ~/.cache)."""
    augment: AugmentConfig = AugmentConfig()
    """Random changes in training."""

    def problems(self) -> Iterator[Problem]:
        """Sides that are rounded to more than they may be."""
        if self.resize == "fit" and self.multiple > min(self.height, self.width):
            yield Problem("multiple", f"{self.multiple} is more than a side of {self.height} x {self.width} pixels")


class BatchConfig(Config):
    """How samples are put together."""

    size: Positive = 64
    """Most samples in a batch."""
    captions: Positive = 1
    """Texts said of a sample (captions of a picture) that are learnt together: what they share is read once for all."""
    max_tokens: Positive | None = None
    """Most text tokens in a batch, padding included; null: no limit."""
    bucket: Count = 32
    """Batches are made of samples of like length, from this many batches at a time; 0: in random order."""


class BadSamplesConfig(Config):
    """What happens when a sample cannot be read."""

    policy: Literal["skip", "fatal"] = "skip"
    """skip: count it, say which, leave it out of its batch; fatal: stop."""
    max_share: Share = 0.01
    """With `skip`, training stops once more than this share of the samples read was bad."""


class MatchingConfig(Config, family="matching"):
    """Captions some of which are wrong, and a label that says which are right: yes or no."""


class SwappedMatchingConfig(MatchingConfig, kind="swapped"):
    """Some captions are exchanged for one of another picture of the same split."""

    share: Share = 0.5
    """Share of captions that are."""
    seed: Count = 0
    """Seed of which, and of whose."""


class AlteredMatchingConfig(MatchingConfig, kind="altered"):
    """One caption of each embedded scene; half of the time exactly one thing in it is wrong."""


class ScenesConfig(Config):
    """The embedded data set."""

    seed: Count = 0
    """Another seed is another world of pictures."""
    max_objects: Annotated[int, Ge(1), Le(4)] = 4
    """Most objects in a picture."""
    language: Literal["en", "de"] = "en"
    """Language of the captions, and what is translated; into the other one."""
    train: Positive = 20_000
    """Pictures in the training split."""
    val: Positive = 500
    """Pictures in the validation split."""
    test: Positive = 1_000
    """Pictures in the test split, and in `novel`, whose combinations of shape and colour are never seen in training."""


class DigitsConfig(Config):
    """The embedded numbers, to be written with their digits in reverse order."""

    seed: Count = 0
    """Another seed is another draw of numbers; which split a number is in does not depend on it."""
    shortest: Annotated[int, Ge(2), Le(30)] = 3
    """Fewest digits of a number."""
    longest: Annotated[int, Ge(2), Le(30)] = 10
    """Most digits of a number."""
    spaced: bool = True
    """Whether a digit is a word of its own; else a number is one word, which only smaller tokens take apart."""
    train: Positive = 20_000
    """Numbers in the training split."""
    val: Positive = 500
    """Numbers in the validation split."""
    test: Positive = 1_000
    """Numbers in the test split."""

    def problems(self) -> Iterator[Problem]:
        """Lengths that leave nothing."""
        if self.shortest > self.longest:
            yield Problem("shortest", f"{self.shortest} is more than longest {self.longest}")


class DataConfig(Config):
    """Where samples come from and how they are prepared."""

    source: str = "scenes"
    """A folder, a tar or zip, or a table file; `scenes` and `digits` are the embedded data sets. See docs/data.md."""
    table: str | None = None
    """The table inside the source (csv, tsv, json, jsonl, parquet); null: the one that is there, or all of them where
    their names say the split (train.csv, val.csv)."""
    images: str | None = None
    """The folder, tar or zip of pictures inside the source; null: the one that is there, or all tars and zips where
    their names say the split (train-00.tar, val.tar)."""
    columns: ColumnsConfig = ColumnsConfig()
    """Which column of the table holds what."""
    splits: SplitsConfig = SplitsConfig()
    """Which pictures are for training and which are not."""
    image: ImageConfig = ImageConfig()
    """How a file becomes pixels."""
    tokenizer: TokenizerConfig = BPETokenizerConfig()
    """How text becomes token ids."""
    matching: MatchingConfig | None = None
    """Whether captions are made wrong, so that a model can learn which belong to their picture; null: they are not."""
    batch: BatchConfig = BatchConfig()
    """How samples are put together."""
    workers: Count = 0
    """Processes that prepare batches; 0: none but the training process."""
    bad_samples: BadSamplesConfig = BadSamplesConfig()
    """What happens when a sample cannot be read."""
    scenes: ScenesConfig = ScenesConfig()
    """The embedded pictures, where they are the source."""
    digits: DigitsConfig = DigitsConfig()
    """The embedded numbers, where they are the source."""
