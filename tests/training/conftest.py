from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real syncs take seconds in all on some disks; `test_files.py` looks at them by itself."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
