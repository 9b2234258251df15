"""Everything that is compared with other programs, and the page that says how far apart we are.

`python tests/models/convert/parity_table.py` writes docs/parity.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from parity_decoders import DECODERS, decoder
from parity_encoders import ENCODERS
from parity_fixtures import FIXTURES
from parity_pictured import PICTURED

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "parity.md"
MOST = 1e-5
"""Largest difference allowed; of gradients ten times that, relative to the largest."""


_PRESETS = {
    "gpt2": "gpt-small",
    "llama": "decoder-small",
    "vit": "vit-base",
    "bert": "bert-small",
    "clip": "clip-base",
    "t5": "t5-small",
    "s001_m1_hkproj": "ref/001-m1",
    "s001_m2_article": "ref/001-m2",
    "s001_m3_samlynnevans": "ref/001-m3",
    "s001_m4_bigram": "ref/001-bigram",
    "s001_m4_ngvideo_gpt": "ref/001-m4-video",
    "s001_m5_nn_transformer_postnorm": "ref/001-m5",
    "s001_m6_ajhalthor": "ref/001-m6",
    "s001_m7_wikitext2": "ref/001-m7",
    "s001_m8_colab_gpt": "ref/001-m8",
    "s001_nanogpt_bias0": "ref/001-nanogpt-cpu",
    "s001_nanogpt_bias1": "ref/001-nanogpt",
    "s002_fixed_rgb": "ref/002-vqa",
    "s004_hf_vit": "ref/004-vit-base",
    "s004_vit_linformer_0263": "ref/004-vit-linformer",
}
"""The preset of what is compared, by the library's layout or the fixture's name."""


class Case(NamedTuple):
    """One comparison."""

    reference: str
    layout: str
    measure: Callable[[Path], dict[str, float]]
    library: bool
    """Whether the reference is Hugging Face's library, else a fixture."""

    @property
    def preset(self) -> str:
        """The preset that is such a model; empty: what is compared has settings that none has."""
        return _PRESETS.get(self.layout if self.library else self.reference.split(",")[0], "")


def _cases() -> dict[str, Case]:
    found = {n: Case(n, d[0], lambda _, n=n: decoder(n), True) for n, d in DECODERS.items()}
    found |= {n: Case(n, layout, lambda _, f=f: f(), True) for n, (layout, f) in (ENCODERS | PICTURED).items()}
    return found | {n: Case(n, layout, f, False) for n, (layout, f) in FIXTURES.items()}


CASES = _cases()


@functools.cache
def measured(name: str, shared: Path | None) -> dict[str, float]:
    """The differences of one of `CASES`, measured once."""
    return CASES[name].measure(shared or Path())


def allowed(what: str) -> float:
    """The largest difference of what is compared."""
    return 10 * MOST if what.startswith("gradients") else MOST


def rounded(value: float) -> str:
    """One digit: the others differ from processor to processor."""
    return "0" if value == 0 else f"{value:.0e}"


def row(case: Case, found: dict[str, float]) -> str:
    """One line of the page."""
    cells = ", ".join(f"{what} {rounded(value)}" for what, value in found.items())
    preset = f"`{case.preset}`" if case.preset else ""
    return f"| {preset} | {case.reference} | {case.layout} | {cells} |"


HEAD = """# How far we are from other programs

Written by `python tests/models/convert/parity_table.py`; the tests measure the same again. Each line is a model of the
other program with random weights, read through a key map of `patchword/models/convert`, and the largest difference of
what both say of the same input. Allowed: 1e-05; gradients 1e-04, relative to the largest of each. *Preset*: the one of
that architecture, at its own size.

## Hugging Face's transformers, float64

Texts of three rows without padding, padded left and padded right; places among the real tokens; padding is not
compared. *Step by step*: a prompt and then one token after another through our caches (growing and static), beside
their pass over the whole. Its RMSNorm and rotary angles compute in float32 even in a float64 model: 1e-06 is that.

| preset | reference | layout | largest differences |
| --- | --- | --- | --- |
"""
FIXED = """
## Reference fixtures, float32

Published programs' own numbers (`reference/fixtures` beside the repository). Gradients come out under their names: the
key map is a function that gradients pass through. What an original computes at padding is not compared. Fixtures of
parts (those of system 003 for `ref/003-base`, Linformer's attention, what is right in system 000 for `ref/000`) are
compared part by part within the same 1e-05: [the tests](acceptance.md).

| preset | fixture | layout | largest differences |
| --- | --- | --- | --- |
"""


def page(shared: Path) -> str:
    """The whole page, measured now."""
    rows = {True: [], False: []}
    for case in CASES.values():
        file = shared / "reference" / "fixtures" / f"{case.reference.split(',')[0]}.safetensors"
        if case.library or file.is_file():
            rows[case.library].append(row(case, case.measure(shared)))
    return HEAD + "\n".join(rows[True]) + "\n" + FIXED + "\n".join(rows[False]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(ROOT.parent / "shared"), encoding="utf-8")
