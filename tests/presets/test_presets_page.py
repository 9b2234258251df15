"""docs/presets.md lists the presets there are, and nothing else."""

from __future__ import annotations

from presets_table import PAGE, page

from patchword.api import presets


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python tests/presets/presets_table.py"


def test_every_preset_says_where_it_is_from_and_what_it_is() -> None:
    for row in presets():
        assert all(row[key] for key in ("name", "task", "parameters", "source", "summary")), row["name"]
        assert len(row["summary"]) <= 140, row["name"]
