"""A way to call the command line, and a run that it trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_helpers import TOY, Called, photos

from patchword.cli import main


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]):
    """Run a command in this process; standard output and error are kept apart."""

    def run(*words: object) -> Called:
        capfd.readouterr()
        code = main([str(w) for w in words])
        return Called(code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained for four steps on the eight photos."""
    base = tmp_path_factory.mktemp("trained")
    data = photos(base / "photos")
    assert main(["train", "captioner-tiny", f"data.source={data}", *TOY, "--out", str(base / "run")]) == 0
    return base / "run"
