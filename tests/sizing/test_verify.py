"""The step that is sized, run for real; and the two commands. No time is tested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from test_size import SMALL, plain

import patchword
from patchword.cli import main
from patchword.config import UserError
from patchword.nn.regions import gradient, heard
from patchword.sizing.timing import unique
from patchword.sizing.timing.roofline import StepTime
from patchword.sizing.timing.verify import Bytes, Seconds, Verification, held_against, timed_against
from patchword.training import calibration
from patchword.training.real_step import RealStep

ONE_LAYER = {**SMALL, "model.image.depth": 1, "model.trunk.depth": 1, "model.image.stem": [], "train.threads": 1}
SETTINGS = [f"{key}={json.dumps(value)}" for key, value in ONE_LAYER.items()]


@pytest.fixture(autouse=True)
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own for what is timed, in no more time than it takes."""
    monkeypatch.setenv("PATCHWORD_CACHE", str(tmp_path))
    monkeypatch.setattr(unique, "_FEWEST", 1)
    monkeypatch.setattr(unique, "_BUDGET", 0.0)
    monkeypatch.setattr(unique, "_LONGEST", {unique._NEAR: 1, unique._FAR: 2})
    monkeypatch.setattr(calibration, "_STEPS", 1)
    monkeypatch.setattr(calibration, "NARROW", [calibration.Reference("captioner-tiny", 1, narrow=True)])
    monkeypatch.setattr(calibration, "ORDINARY", [calibration.Reference("captioner-tiny", 2, narrow=True)])


def test_phases_and_the_step_are_held_against_what_was_measured() -> None:
    time = StepTime(3.0, 8.0, "calibrated", {"forward": (1.0, 3.0), "backward": (2.0, 5.0)}, {})
    seconds = timed_against(time, {"forward": 2.0, "backward": 7.0})
    assert list(seconds) == ["forward", "backward", "step"]
    assert list(seconds.values()) == [Seconds(1.0, 3.0, 2.0), Seconds(2.0, 5.0, 7.0), Seconds(3.0, 8.0, 9.0)]
    assert [found.inside for found in seconds.values()] == [True, False, False]
    assert seconds["backward"].error == pytest.approx(-0.5)
    memory = held_against({"forward": 100, "backward": 1000}, {"forward": 100, "backward": 1001})
    assert memory["step"] == Bytes(1000, 1001)
    assert memory["step"].inside
    assert not Bytes(1000, 1100).inside
    found = Verification("train", 2, 5, "calibrated", seconds, memory)
    assert not found.ok
    assert found._replace(seconds={**seconds, "step": Seconds(3.0, 10.0, 9.0)}).ok
    assert found.to_dict()["seconds"]["forward"]["inside"] is True


@pytest.mark.parametrize("changes", [{}, {"train.checkpoint_blocks": True, "train.accumulate": 2, "train.ema": 0.9}])
def test_a_real_step_goes_through_its_phases(changes: dict[str, Any]) -> None:
    marks: list[str] = []
    with RealStep(plain(**changes), "train", 2) as real:
        before = [p.detach().clone() for p in real.model.parameters()]
        real.step(marks.append)
        assert any(not torch.equal(a, b) for a, b in zip(before, real.model.parameters(), strict=True))
    times = changes.get("train.accumulate", 1)
    loss_and_gradient = [
        "backward",
        "forward",
        "backward",
        "forward",
    ]  # its gradient is made with the loss
    assert marks == ["forward", *loss_and_gradient * times, "optimizer", ""]


def test_a_look_has_one_phase_and_leaves_the_weights() -> None:
    marks: list[str] = []
    with RealStep(plain(), "inference", 2) as real:
        before = [p.detach().clone() for p in real.model.parameters()]
        real.step(marks.append)
        assert all(torch.equal(a, b) for a, b in zip(before, real.model.parameters(), strict=True))
        assert set(real.seconds(2)[0]) == {"forward"}
    assert [mark for mark in marks if mark] == ["forward"]


def test_who_listens_hears_where_gradients_are_computed() -> None:
    heard_of: list[bool] = []
    with gradient():
        pass
    with heard(heard_of.append), gradient():
        assert heard_of == [True]
    with gradient():
        pass
    assert heard_of == [True, False]


@pytest.mark.parametrize("mode", ["train", "inference"])
def test_memory_is_that_of_the_profiler(mode: str) -> None:
    found = patchword.verify(plain(), mode, batch=3, steps=1)
    phases = ["forward", "backward", "optimizer", "step"] if mode == "train" else ["forward", "step"]
    assert list(found.memory) == list(found.seconds) == phases
    for bytes_ in found.memory.values():
        assert abs(bytes_.error) <= 0.005
    assert found.source == "data sheet"


def test_calibrating_prepares_size_and_verify(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["captioner-tiny", *SETTINGS, "--batch", "2"]
    assert main(["calibrate", *command, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["timed"] > 100
    assert first["reused"] == 0
    assert first["refused"] == {}
    assert Path(first["path"]).is_file()
    low, high = first["time"]["step_seconds"]
    assert 0 <= low < high
    assert main(["calibrate", *command]) == 0
    assert f"0 operations timed, {first['timed']} known before" in capsys.readouterr().out
    assert main(["size", *command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["time"] == first["time"]
    assert main(["size", *command]) == 0
    assert "(calibrated)" in capsys.readouterr().out
    assert main(["verify", *command, "--steps", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["source"] == "calibrated"
    assert [found["seconds"]["step"]["low"], found["seconds"]["step"]["high"]] == [low, high]
    assert main(["verify", *command, "--steps", "1"]) == 0
    assert "side" in capsys.readouterr().out.lower()


@pytest.mark.parametrize("command", [["calibrate"], ["verify"]])
@pytest.mark.parametrize(("wrong", "says"), [
    (["captioner-tinny"], "did you mean 'captioner-tiny'"),
    (["captioner-tiny", "model.trunk.dimm=3"], "unknown field 'dimm'"),
    (["captioner-tiny", "--batch", "0"], "--batch"),
    (["captioner-tiny", "--mode", "trian"], "did you mean 'train'"),
    (["captioner-tiny", "--threads", "none"], "--threads"),
])  # fmt: skip
def test_mistakes_exit_with_2(
    command: list[str], wrong: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, *wrong]) == 2
    assert says in capsys.readouterr().err


def test_wrong_arguments_are_refused() -> None:
    for mode, batch, steps in (("train", 0, 1), ("train", 1, 0), ("run", 1, 1)):
        with pytest.raises(UserError):
            patchword.verify(plain(), mode, batch, steps)
    with pytest.raises(UserError, match="at least one sample"):
        patchword.calibrate(plain(), batch=0)
