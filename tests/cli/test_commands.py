"""The command line as scripts rely on it: output, JSON keys, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from cli_helpers import photos, toy
from PIL import Image

import patchword
from patchword.config import RunConfig, parse_yaml


def test_presets(call) -> None:
    rows = call("presets", "--json").json
    assert {"captioner-tiny", "captioner-small", "captioner-base", "captioner-prefix-small"} <= {
        r["name"] for r in rows
    }
    assert all(set(r) == {"name", "task", "parameters", "source", "summary"} for r in rows)
    tiny = next(r for r in rows if r["name"] == "captioner-tiny")
    assert tiny["parameters"] == sum(p.numel() for p in patchword.create_model("captioner-tiny").parameters())
    assert "captioner-tiny" in call("presets").out


def test_show_is_complete_and_commented_and_reads_back(call, tmp_path: Path) -> None:
    out = call("show", "captioner-small", "train.steps=7", "model.image.attention.num_heads=8").out
    config = RunConfig.from_dict(parse_yaml(out))
    assert config.train.steps == 7
    assert config.model.towers["image"].attention.num_heads == 8
    lines = out.splitlines()
    assert all(
        lines[i - 1].strip().startswith("#") for i, line in enumerate(lines) if line.strip().startswith("steps:")
    )
    file = tmp_path / "mine.yaml"
    file.write_text(out)
    assert call("show", file).out == out
    assert call("show", file, "--json").json == config.to_dict()


def test_show_schema(call) -> None:
    schema = call("show", "--schema").json
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["$defs"]["TrainConfig"]["properties"]["steps"]["description"] == "Optimizer steps."


def test_train_says_what_it_made(call, tmp_path: Path) -> None:
    data = photos(tmp_path / "photos")
    done = call("train", "captioner-tiny", f"data.source={data}", *toy(), "--out", tmp_path / "run", "--json")
    assert done.code == 0
    assert set(done.json) == {"run", "steps", "metrics"}
    assert done.json["steps"] == 4
    assert done.json["metrics"]["loss"] > 0
    files = {p.name for p in (tmp_path / "run").iterdir()}
    assert {"config.yaml", "model", "checkpoints", "metrics.jsonl", "report.html", "environment.json"} <= files
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        p.name for p in (tmp_path / "run/model").iterdir()
    }
    assert yaml.safe_load((tmp_path / "run/config.yaml").read_text())["train"]["steps"] == 4


def test_evaluate(call, trained: Path) -> None:
    out = call("evaluate", trained, "--split", "val", "--json").json
    assert out["count"] >= 1
    assert set(out["metrics"]) >= {"loss", "perplexity", "cider_d", "bleu4"}
    scenes = call("evaluate", trained, "scenes", "--split", "novel", "--limit", "3", "--json").json
    assert scenes["count"] == 3
    assert "scene_accuracy" in scenes["metrics"]


def test_predict(call, trained: Path, tmp_path: Path) -> None:
    pictures = []
    for name, mode in (("a.png", "RGB"), ("b.jpg", "RGB"), ("c.png", "P")):
        path = tmp_path / name
        Image.fromarray(np.random.randint(0, 255, (30, 17, 3), dtype=np.uint8)).convert(mode).save(path)
        pictures += ["--image", path]
    out = call("predict", trained, *pictures, "--json").json
    assert [p["id"] for p in out["predictions"]] == [str(p) for p in pictures[1::2]]
    assert call("predict", trained, "--image", pictures[1], "--text", "a red").out.startswith("a red")


def test_the_report_names_no_place_of_this_machine(trained: Path) -> None:
    data = str(trained.parent / "photos")
    assert data in (trained / "config.yaml").read_text()
    assert json.loads((trained / "environment.json").read_text())[-1]["argv"] == sys.argv
    page = (trained / "report.html").read_text()
    assert ".../photos" in page
    assert str(trained.parent) not in page
    assert all(word not in page for word in sys.argv if "/" in word)


def test_check(call, tmp_path: Path) -> None:
    data = photos(tmp_path / "photos")
    done = call("check", data, "--json")
    assert done.code == 0
    assert done.json["ok"] is True
    assert done.json["count"] == 8
    (data / "3.jpg").write_bytes(b"not a picture")
    done = call("check", data, "--json")
    assert done.code == 2
    assert done.json["ok"] is False
    assert done.json["problems"]
    assert "3.jpg" in call("check", data).out
    assert call("check", data, "data.bad_samples.max_share=0.5").code == 0


def test_resume_on_the_command_line_goes_on_bit_for_bit(call, tmp_path: Path) -> None:
    data = photos(tmp_path / "photos")
    same = [f"data.source={data}", "model.image.residual.dropout=0.2", "train.schedule.kind=constant"]

    def train(steps: int, *out: object) -> int:
        return call("train", "captioner-tiny", *toy(*same, f"train.steps={steps}"), *out).code

    assert train(6, "--out", tmp_path / "whole") == 0
    assert train(3, "--out", tmp_path / "parts") == 0
    assert train(6, "--out", tmp_path / "parts", "--resume") == 0
    whole, parts = ((tmp_path / n / "model/model.safetensors").read_bytes() for n in ("whole", "parts"))
    assert whole == parts


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_and_says_how_to_go_on(number: signal.Signals, tmp_path: Path) -> None:
    words = [*toy(f"data.source={photos(tmp_path / 'photos')}", "train.steps=100000"), "--out", str(tmp_path / "run")]
    command = [sys.executable, "-m", "patchword", "train", "captioner-tiny", *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        while "step 4/" not in (line := running.stderr.readline()):
            assert line
        running.send_signal(number)
        err = running.stderr.read()
    assert running.returncode == 128 + number
    assert "--resume" in err
    assert "Traceback" not in err
    assert list((tmp_path / "run/checkpoints").iterdir())


def test_help_is_quick_and_needs_no_torch() -> None:
    code = "import sys; from patchword.cli import main; main(['--help']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    for name in ("presets", "show", "check", "train", "evaluate", "predict"):
        assert name in done.stdout


def test_wrong_configurations_are_refused_before_torch_is_imported() -> None:
    code = (
        "import sys; from patchword.cli import main\n"
        "assert main(['train', 'captioner-tiny', 'train.stepz=1', '--out', 'x']) == 2\n"
        "assert main(['show', 'captioner-tiny', 'model.image.dim=130']) == 2\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_same_verbs_in_python(tmp_path: Path, trained: Path) -> None:
    model = patchword.create_model("captioner-tiny", **{"model.text.vocab_size": 60})
    assert model.config.towers["text"].vocab_size == 60
    assert patchword.evaluate(trained, split="val").metrics["loss"] > 0
    pixels = np.random.randint(0, 255, (16, 16, 3), dtype=np.uint8)
    assert patchword.load(trained).predict([pixels, pixels])[1].id == "picture 1"
    spec = tmp_path / "mine.json"
    spec.write_text(json.dumps({"preset": "captioner-tiny", "model": {"text": {"vocab_size": 77}}}))
    assert patchword.create_model(spec).config.towers["text"].vocab_size == 77
