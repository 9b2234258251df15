"""Which files of a folder or archive are running text or token ids, and the source that they make."""

from __future__ import annotations

import posixpath

from patchword.config import DataConfig
from patchword.data.archives import Archive
from patchword.data.splits import split_of_path
from patchword.data.texts import TextSource, is_text, open_texts
from patchword.data.token_bins import ENDING, open_bins

_ABOUT = ("readme", "license", "licence")
"""What files that tell of the others are called."""


def is_running(name: str) -> bool:
    """Whether a file's name is that of running text or of token ids."""
    return is_text(name) or name.lower().endswith(ENDING)


def open_running(config: DataConfig, archive: Archive, name: str | None = None) -> TextSource | None:
    """The text in file `name` of an archive, or in all its files of text; None: there are none.

    Where token ids of training are there, they are taken for what the texts beside them say.
    """
    names = [name] if name is not None else list(archive.names)
    bins = [n for n in names if n.lower().endswith(ENDING) and (name or split_of_path(n))]
    if bins:
        return open_bins(config, archive, bins)
    about = {n for n in names if posixpath.basename(n).lower().split(".", 1)[0] in _ABOUT}
    texts = [n for n in names if is_text(n) and (name or n not in about)]
    return open_texts(config, archive, texts) if texts else None
