"""`patchword convert`: what is said of right and of wrong sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli_helpers import Called
from safetensors.torch import save_file

GPT2 = {"model_type": "gpt2", "n_embd": 4, "n_layer": 1, "n_head": 2, "vocab_size": 5, "n_positions": 3}
SHAPES = {
    "wte.weight": (5, 4),
    "wpe.weight": (3, 4),
    "h.0.ln_1": (4,),
    "h.0.attn.c_attn": (4, 12),
    "h.0.attn.c_proj": (4, 4),
    "h.0.ln_2": (4,),
    "h.0.mlp.c_fc": (4, 16),
    "h.0.mlp.c_proj": (16, 4),
    "ln_f": (4,),
}


def folder(path: Path, **changes: object) -> Path:
    """A GPT-2 of theirs, by hand."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(GPT2 | changes))
    tensors = {}
    for name, shape in SHAPES.items():
        if name.endswith("weight"):
            tensors[name] = torch.randn(shape)
        else:
            tensors |= {f"{name}.weight": torch.randn(shape), f"{name}.bias": torch.randn(shape[-1])}
    save_file(tensors, path / "model.safetensors")
    return path


def refused(done: Called, *said: str) -> None:
    assert done.code == 2, done
    assert done.out == ""
    assert done.err.count("error:") == 1
    assert "Traceback" not in done.err
    for words in said:
        assert words in done.err


def test_in_and_out(call, tmp_path: Path) -> None:
    done = call("convert", folder(tmp_path / "theirs"), tmp_path / "ours", "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert found == {
        "out": str(tmp_path / "ours"),
        "layout": "gpt2",
        "direction": "in",
        "parameters": 5 * 4 + 3 * 4 + 12 * 16 + 12 + 4 + 16 + 4 + 16 + 8,
        "left_out": {},
        "notes": [],
        "renumbered": {},
    }
    assert {p.name for p in (tmp_path / "ours").iterdir()} == {"config.json", "model.safetensors", "checksums.json"}
    done = call("convert", tmp_path / "ours", tmp_path / "back")
    assert done.code == 0
    assert "written as the layout gpt2" in done.out
    settings = json.loads((tmp_path / "back" / "config.json").read_text())
    assert {name: settings[name] for name in GPT2} == GPT2


def test_a_trained_run_is_written_where_a_layout_has_its_parts(call, trained: Path, tmp_path: Path) -> None:
    refused(call("convert", trained, tmp_path / "out"), "no layout has all parts of this model", "vit", "gpt2")
    assert not (tmp_path / "out").exists()


def test_wrong_sources(call, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused(call("convert", tmp_path / "nowhere", out), "nowhere: no such file or folder")
    (tmp_path / "empty").mkdir()
    refused(call("convert", tmp_path / "empty", out), "holds no config.json")
    source = folder(tmp_path / "theirs", model_type="gtp2")
    refused(call("convert", source, out), "unknown model_type 'gtp2'", "did you mean 'gpt2'?")
    (source / "config.json").write_text("{}")
    refused(call("convert", source, out), "names no model_type")
    (source / "config.json").write_text("{")
    refused(call("convert", source, out), "config.json", "not valid JSON")
    (source / "config.json").write_text(json.dumps(GPT2 | {"n_layer": 2}))
    refused(call("convert", source, out), "missing: transformer.h.1.attn.c_attn.bias")
    (source / "config.json").write_text(json.dumps(GPT2))
    refused(call("convert", source, out, "--to", "gpt2"), "no model of patchword's")
    refused(call("convert", source, out, "--to", "gtp2"), "did you mean 'gpt2'?")
    (source / "model.safetensors").write_bytes(b"short")
    refused(call("convert", source, out), "not a whole safetensors file")
    (source / "model.safetensors").unlink()
    refused(call("convert", source, out), "holds no weights", "model.safetensors")
    (source / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../etc/passwd"}}')
    refused(call("convert", source, out), "is not a file of the same folder")
    assert not out.exists()


def test_nothing_is_overwritten(call, tmp_path: Path) -> None:
    source, out = folder(tmp_path / "theirs"), tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("x")
    refused(call("convert", source, out), "is there already")
    assert [p.name for p in out.iterdir()] == ["precious"]


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_a_converted_model_has_no_task(call, tmp_path: Path, verb: str) -> None:
    call("convert", folder(tmp_path / "theirs"), tmp_path / "ours")
    more = ["--image", "x.png"] if verb == "predict" else []
    refused(call(verb, tmp_path / "ours", *more), "a model without a task")
