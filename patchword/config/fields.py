"""Which texts of a record a task reads."""

from __future__ import annotations

from typing import NamedTuple


class Fields(NamedTuple):
    """What a task reads of a record: the names of its texts, and whether it has a picture."""

    required: tuple[str, ...]
    """Every record has at least one text of each; a sample that lacks one is left out and noted."""
    optional: tuple[str, ...] = ()
    """Read where the data has them."""
    image: bool | None = True
    """True: every record has a picture; False: none is looked for; None: as the data has it."""

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, the required ones first."""
        return (*self.required, *self.optional)

    @property
    def parallel(self) -> bool:
        """Whether the texts of a record go together, the first of each field, the second of each, and so on."""
        return len(self.required) > 1
