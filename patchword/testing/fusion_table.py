"""`python -m patchword.testing.fusion_table`: writes the table of docs/fusion.md from the settings' classes."""

from __future__ import annotations

import sys
from pathlib import Path

from patchword.config import FusionConfig

FACTS = ("continues", "joins", "gives_memory")
BEGIN, END = "<!-- generated: what each gives -->", "<!-- end -->"


def table() -> str:
    """A row for each built-in kind, in the order of declaration: what it is, and its class facts."""
    rows = [f"| kind | what | {' | '.join(FACTS)} |", f"| --- | --- |{' --- |' * len(FACTS)}"]
    for kind, config in FusionConfig.kinds.items():
        if config.__module__.startswith("patchword.config"):
            marks = " | ".join("yes" if getattr(config, fact) else "-" for fact in FACTS)
            what = " ".join((config.__doc__ or "").split()).removesuffix(".")
            rows.append(f"| [{kind}](#{kind}) | {what} | {marks} |")
    return "\n".join(rows)


def with_table(page: str) -> str:
    """A page with the generated part between its marks made anew."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Write the page that is named (default: docs/fusion.md)."""
    page = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/fusion.md")
    page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
