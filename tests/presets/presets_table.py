"""The page of presets, from what they are.

`python tests/presets/presets_table.py` writes docs/presets.md.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from patchword.api import presets

PAGE = Path(__file__).resolve().parents[2] / "docs" / "presets.md"
_HEAD = """# Presets

Written by `python tests/presets/presets_table.py`, from what `patchword presets --json` says. A preset is a
function that returns the configuration of a whole run; each is the start of a variant: `patchword train NAME
key=value ...`. Parameters are counted for as many words as its tokenizer may learn, and for two classes,
where the data decides. `patchword size NAME` says what it costs.

Names that begin with `ref/` are published systems with exactly the published number of parameters, computing
what their texts mean: what was a bug in an original is not in them. [docs/systems.md](systems.md) says how
their options are called here, [docs/acceptance.md](acceptance.md) what was checked.
"""


def page() -> str:
    """The whole text."""
    lines = [_HEAD]
    rows = sorted(presets(), key=lambda row: row["task"])  # stable: inside a task as they are listed
    for task, own in groupby(rows, key=lambda row: row["task"]):
        lines += [f"## {task.replace('_', ' ').capitalize()}", ""]
        lines += ["| preset | parameters | from | |", "| --- | --- | --- | --- |"]
        lines += [f"| `{r['name']}` | {r['parameters']:,} | {r['source']} | {r['summary']} |" for r in own]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
