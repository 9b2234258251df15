"""The front door: every verb is a function, whatever was imported before."""

from __future__ import annotations

import subprocess
import sys

import patchword


def test_verbs_stay_functions() -> None:
    code = (
        "import patchword, patchword.api, patchword.training.trainer, patchword.costs\n"
        "assert all(callable(getattr(patchword, name)) for name in patchword.__all__), patchword.__all__"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_room_is_named_like_a_verb() -> None:
    import importlib.util

    for name in patchword.__all__:
        assert importlib.util.find_spec(f"patchword.{name}") is None, name
