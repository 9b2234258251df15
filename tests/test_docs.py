"""What the pages say can be done can be done: commands, files and messages in them are tried, links followed."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from patchword.cli import main
from patchword.config import RunConfig, parse_overrides, parse_yaml
from patchword.config.core import config_in, config_in_mapping, field_types, kinds_of
from patchword.models.presets import PRESETS, load_config

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "tasks").glob("*.md"))]


class Block(NamedTuple):
    """A fenced piece of a page."""

    page: str
    kind: str
    text: str


def blocks(*kinds: str) -> list[Block]:
    found = []
    for page in PAGES:
        pieces = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        found += [Block(page.name, kind, text) for kind, text in pieces if kind in kinds]
    return found


def commands() -> list[list[str]]:
    """Every complete `patchword` command line that a reader may type."""
    typed = [line.removeprefix("$ ") for block in blocks("sh", "console") for line in block.text.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in typed if line.startswith("patchword ")]


def test_there_are_pages_and_commands() -> None:
    assert {"README.md", "data.md", "training.md", "configuration.md"} <= {page.name for page in PAGES}
    assert {words[0] for words in commands()} >= {"presets", "show", "check", "train", "evaluate", "predict"}


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_are_understood(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As far as that goes without the reader's data: the command and options exist, settings can be read."""
    assert main([words[0], "--help"]) == 0
    options = {word for word in words if word.startswith("--")}
    assert options <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    if words[0] in ("show", "train"):
        parse_overrides([word for word in words[2:] if "=" in word and not word.startswith("-")])


@pytest.mark.parametrize("words", [w for w in commands() if w[0] == "train" and w[1] in PRESETS], ids=" ".join)
def test_trainings_are_valid(words: list[str]) -> None:
    load_config(words[1], parse_overrides([word for word in words[2:] if "=" in word]))


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.page)
def test_files_are_valid(block: Block) -> None:
    for text in [block.text] if "\n\n" in block.text or block.text.count("norm:") < 2 else block.text.splitlines():
        data = parse_yaml(text)
        if isinstance(data, dict) and "preset" in data:
            load_config(data)


@pytest.mark.parametrize("block", [b for b in blocks("console") if b.text.startswith("$ patchword show")])
def test_messages_are_as_shown(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    typed, _, shown = block.text.partition("\n")
    main(shlex.split(typed)[2:])
    out, err = capsys.readouterr()
    assert out + err == shown


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.page)
def test_python_is_python(block: Block) -> None:
    ast.parse(block.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def settings_named() -> list[str]:
    """Dotted paths such as `train.save_every` in the running text; `train.txt` is a file."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    found = re.findall(r"`((?:train|data|task)(?:\.[a-z_0-9]+)+)(?:=[^`]*)?`", text)
    return sorted(path for path in set(found) if not path.endswith((".txt", ".gz", ".csv", ".json", ".tar", ".bin")))


@pytest.mark.parametrize("path", settings_named())
def test_settings_exist(path: str) -> None:
    """In a run of some kind of task, with some kinds of parts."""
    places: list[Any] = [RunConfig]
    for key in path.removesuffix(".kind").split("."):
        kinds = [kind for place in places for kind in (kinds_of(place).values() or [place])]
        hints = [field_types(kind)[key] for kind in kinds if key in field_types(kind)]
        assert hints, path
        places = [part for hint in hints if (part := config_in(hint) or config_in_mapping(hint)) is not None]
