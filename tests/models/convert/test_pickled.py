"""Foreign pickles: read in a child with limits, never run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from patchword.config import UserError
from patchword.models.convert.pickled import read_pickled
from patchword.models.create import create_model
from patchword.training.convert import convert


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_malicious_pickle_runs_no_code(tmp_path: Path, legacy: bool) -> None:
    file, trace = tmp_path / "evil.pt", tmp_path / "ran"
    torch.save({"w": Evil(trace)}, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(UserError, match="could run code"):
        read_pickled(file)
    assert not trace.exists()
    torch.load(file, weights_only=False)  # it would have
    assert trace.exists()


def test_too_much_memory_and_time(tmp_path: Path) -> None:
    file = tmp_path / "large.pt"
    torch.save({"w": torch.zeros(1).expand(4 * 10**8)}, file)  # one number in the file, 1.6 GB in memory
    assert file.stat().st_size < 10_000
    with pytest.raises(UserError, match=r"cannot be read: .*memory"):
        read_pickled(file, memory=5 * 2**29)
    with pytest.raises(UserError, match="longer than"):
        read_pickled(file, seconds=1e-3)


def test_damaged_and_strange_files(tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"not a pickle")
    with pytest.raises(UserError, match=r"bad\.pt: cannot be read"):
        read_pickled(tmp_path / "bad.pt")
    for name, data in {"junk.pt": b"junk" * 100, "empty.pt": b""}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(
            UserError, match=rf"{name}: cannot be read: it is damaged, or was not written by torch\.save"
        ):
            read_pickled(tmp_path / name)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="holds list, not named tensors"):
        read_pickled(tmp_path / "list.pt")
    torch.save({"a": 1}, tmp_path / "none.pt")
    with pytest.raises(UserError, match="holds no named tensors"):
        read_pickled(tmp_path / "none.pt")


def nanogpt(path: Path) -> dict[str, torch.Tensor]:
    """A checkpoint as nanoGPT writes them, of a compiled model with a tied table."""
    dim, vocab, block = 8, 11, 6
    table = torch.randn(vocab, dim)
    state = {
        "transformer.wte.weight": table,
        "lm_head.weight": table,
        "transformer.wpe.weight": torch.randn(block, dim),
    }
    shapes = {"ln_1": (dim,), "attn.c_attn": (3 * dim, dim), "attn.c_proj": (dim, dim), "ln_2": (dim,)}
    shapes |= {"mlp.c_fc": (4 * dim, dim), "mlp.c_proj": (dim, 4 * dim)}
    state |= {f"transformer.h.0.{name}.weight": torch.randn(*shape) for name, shape in shapes.items()}
    state["transformer.ln_f.weight"] = torch.randn(dim)
    arguments = {"n_layer": 1, "n_head": 2, "n_embd": dim, "block_size": block, "bias": False, "vocab_size": vocab}
    checkpoint = {
        "model": {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}},
        "model_args": arguments | {"dropout": 0.0},
        "iter_num": 3,
    }
    torch.save(checkpoint, path)
    return state


def test_a_nanogpt_checkpoint_becomes_a_model(tmp_path: Path) -> None:
    state = nanogpt(tmp_path / "ckpt.pt")
    done = convert(tmp_path / "ckpt.pt", tmp_path / "ours")
    assert done.layout == "nanogpt"
    assert done.parameters == sum(t.numel() for name, t in state.items() if name != "lm_head.weight")
    model = create_model(tmp_path / "ours")
    assert torch.equal(model.state_dict()["heads.text.proj.weight"], state["lm_head.weight"])
    assert model({"text": torch.zeros(1, 6, dtype=torch.long)}).heads["text"].shape == (1, 6, 11)


def test_a_file_that_does_not_say_what_it_is(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="does not say what model it is of"):
        convert(tmp_path / "w.pt", tmp_path / "ours")
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(UserError, match=r"left over: transformer\.w"):
        convert(tmp_path / "w.pt", tmp_path / "ours")
    assert not (tmp_path / "ours").exists()
