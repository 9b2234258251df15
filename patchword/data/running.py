"""Which files of a folder or archive are running text or token ids, and the source that they make."""

from __future__ import annotations

import posixpath

from patchword.config import DataConfig
from patchword.data.archives import Archive
from patchword.data.splits import split_of_path
from patchword.data.texts import TextSource, is_text, open_texts
from patchword.data.token_bins import ENDING, TokenSource, open_bins

_ABOUT = ("readme", "license", "licence")
"""What files that tell of the others are called."""


def is_running(name: str) -> bool:
    """Whether a file's name is that of running text or of token ids."""
    return is_text(name) or name.lower().endswith(ENDING)


def open_ids(config: DataConfig, archive: Archive) -> TokenSource | None:
    """The token ids in an archive, in files whose names say splits; None: there are none."""
    bins = [name for name in archive.names if name.lower().endswith(ENDING) and split_of_path(name)]
    return open_bins(config, archive, bins) if bins else None


def open_running(config: DataConfig, archive: Archive, name: str | None = None) -> TextSource | None:
    """The text, or the token ids, in file `name` of an archive; or its token ids, or all its files of text.

    None: there are none.
    """
    if name is not None:
        return (open_bins if name.lower().endswith(ENDING) else open_texts)(config, archive, [name])
    if (ids := open_ids(config, archive)) is not None:
        return ids
    texts = [n for n in archive.names if is_text(n) and posixpath.basename(n).lower().split(".", 1)[0] not in _ABOUT]
    return open_texts(config, archive, texts) if texts else None
