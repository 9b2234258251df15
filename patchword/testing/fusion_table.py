"""`python -m patchword.testing.fusion_table`: writes the tables of docs/fusion.md, of kinds and of layouts."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from patchword.config import FusionConfig
from patchword.models.create import create_model
from patchword.models.model import count_parameters
from patchword.models.presets import PRESETS, preset, summary

FACTS = ("continues", "joins", "gives_memory")
KINDS, LAYOUTS, END = "<!-- generated: what each gives -->", "<!-- generated: layouts -->", "<!-- end -->"


def kinds() -> str:
    """A row for each built-in kind, in the order of declaration: what it is, and its class facts."""
    rows = [f"| kind | what | {' | '.join(FACTS)} |", f"| --- | --- |{' --- |' * len(FACTS)}"]
    for kind, config in FusionConfig.kinds.items():
        if config.__module__.startswith("patchword.config"):
            marks = " | ".join("yes" if getattr(config, fact) else "-" for fact in FACTS)
            what = " ".join((config.__doc__ or "").split()).removesuffix(".")
            rows.append(f"| [{kind}](#{kind}) | {what} | {marks} |")
    return "\n".join(rows)


def layouts() -> str:
    """A row for each layout: what it is, its fusion, its weights with the largest vocabulary."""
    rows = ["| preset | what | fusion | weights |", "| --- | --- | --- | --- |"]
    for name in (name for name in PRESETS if name.startswith("layout-")):
        with torch.device("meta"):
            count = count_parameters(create_model(name))
        fusion = preset(name).model.fusion
        assert fusion is not None
        rows.append(f"| `{name}` | {summary(name).removesuffix('.')} | {fusion.kind} | {count:,} |")
    return "\n".join(rows)


def with_tables(page: str) -> str:
    """A page with the generated parts between their marks made anew."""
    for begin, made in ((KINDS, kinds()), (LAYOUTS, layouts())):
        head, rest = page.split(begin)
        page = f"{head}{begin}\n\n{made}\n\n{END}{rest.split(END, 1)[1]}"
    return page


def main() -> None:
    """Write the page that is named (default: docs/fusion.md)."""
    page = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/fusion.md")
    page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
