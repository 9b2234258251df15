"""Predicted memory against real steps: torch's profiler played back, and a library that counts every allocation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map_only

from benchmarks.sizing.interposer import compiled, compiler, environment
from benchmarks.sizing.page import page, right, worst
from benchmarks.sizing.planner import PLANS
from benchmarks.sizing.replay import peak_bytes
from benchmarks.sizing.results import add, done, read
from patchword.sizing.tracing.rehearsal import Rehearsal
from patchword.sizing.workspaces import reserve_of, workspace_of

ROOT = Path(__file__).parents[2]
needs_cc = pytest.mark.skipif(
    sys.platform != "linux" or compiler() is None, reason="the interposer needs Linux and a C compiler"
)
on_avx512 = pytest.mark.skipif(
    "AVX512" not in torch.backends.cpu.get_cpu_capability(), reason="rules of oneDNN's layouts were measured on AVX-512"
)
aten: Any = torch.ops.aten


def measured(group: str, folder: Path) -> list[dict[str, Any]]:
    library, results = compiled(folder), folder / "cells.jsonl"
    command = [sys.executable, "-m", "benchmarks.sizing.child", group, str(results)]
    subprocess.run(command, cwd=ROOT, env=environment(library), check=True, capture_output=True, timeout=900)
    return read(results)


@needs_cc
@on_avx512
def test_predictions_are_both_truths(tmp_path: Path) -> None:
    rows = measured("quick", tmp_path)
    assert len(rows) == 8
    assert [row["cell"] for row in rows if "error" in row] == []
    off = {row["cell"]: worst(row) for row in rows if abs(worst(row)) > 1e-4}
    assert {cell: share for cell, share in off.items() if abs(share) > 5e-4 or "LSTM" not in cell} == {}
    assert [k for row in rows for k in row.get("kernels_off", ())] == []
    text = page(rows)
    assert "| cells | at least 100 | 8 |" in text
    assert all(f"{row['predicted']:,}" in text for row in rows)


@needs_cc
@on_avx512
@pytest.mark.slow
def test_the_batch_that_is_named_runs_and_the_next_one_does_not(tmp_path: Path) -> None:
    rows = measured("planner", tmp_path)
    assert [row["plan"] for row in rows if not right(row)] == []
    assert len(rows) == len(PLANS)


def test_results_survive_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    add(path, {"cell": "a"})
    path.write_text(path.read_text() + '{"cell": "b", "pre')
    assert done(path) == {"a"}


# ------------------------------------------------------------------ single kernels, by the profiler

F32, BF16 = torch.float32, torch.bfloat16


def t(*shape: int, dtype: torch.dtype = F32) -> Tensor:
    return torch.ones(shape, dtype=dtype)


def grads_of_flash(queries: int, keys: int, width: int) -> tuple[Any, ...]:
    q, k = t(2, queries, 4, width).transpose(1, 2), t(2, keys, 4, width).transpose(1, 2)
    out, sums = aten._scaled_dot_product_flash_attention_for_cpu(q, k, k)
    return (q, q, k, k, out, sums, 0.0, False)


KERNELS: dict[str, tuple[Any, Callable[[], tuple[Any, ...]]]] = {
    "sums of exponentials": (aten.logsumexp.default, lambda: (t(30, 70), [-1])),
    "layer norm, backward": (
        aten.native_layer_norm_backward.default,
        lambda: (t(6, 50, 48), t(6, 50, 48), [48], t(6, 50, 1), t(6, 50, 1), t(48), t(48), [True] * 3),
    ),
    "layer norm, backward, of a sum": (
        aten.native_layer_norm_backward.default,
        lambda: (t(1).expand(6, 50, 48), t(6, 50, 48), [48], t(6, 50, 1), t(6, 50, 1), t(48), t(48), [True] * 3),
    ),
    "group norm, backward": (
        aten.native_group_norm_backward.default,
        lambda: (t(3, 32, 9, 9), t(3, 32, 9, 9), t(3, 4), t(3, 4), t(32), 3, 32, 81, 4, [True] * 3),
    ),
    "types that meet": (aten.mul.Tensor, lambda: (t(40, 50), t(40, 50) > 0)),
    "where": (aten.where.self, lambda: (t(40, 50) > 0, t(40, 50), t(40, 50))),
    "a count": (aten.sum.default, lambda: (t(400) > 0,)),
    "a narrow mean": (aten.mean.default, lambda: (t(40, 50, dtype=BF16),)),
    "a sort": (aten.sort.default, lambda: (t(7, 400),)),
    "a sort of columns": (aten.sort.default, lambda: (t(7, 400), 0)),
    "a matrix that repeats": (aten.mm.default, lambda: (t(1, 1).expand(60, 40), t(40, 30))),
    "softmax, backward, of a sum": (
        aten._softmax_backward_data.default,
        lambda: (t(1, 1).expand(60, 40), t(60, 40), -1, F32),
    ),
    "embedding, backward, of a sum": (
        aten.embedding_dense_backward.default,
        lambda: (t(1).expand(3, 50, 64), torch.zeros(3, 50, dtype=torch.long), 100, -1, False),
    ),
    "attention": (aten._scaled_dot_product_flash_attention_for_cpu.default, lambda: (t(2, 4, 50, 16),) * 3),
    "attention of many": (
        aten._scaled_dot_product_flash_attention_for_cpu.default,
        lambda: (t(1, 2, 800, 16), t(1, 2, 600, 16), t(1, 2, 600, 16)),
    ),
    "attention in bf16": (
        aten._scaled_dot_product_flash_attention_for_cpu.default,
        lambda: (t(2, 4, 200, 16, dtype=BF16),) * 3,
    ),
    "attention, backward": (
        aten._scaled_dot_product_flash_attention_for_cpu_backward.default,
        lambda: grads_of_flash(50, 70, 16),
    ),
    "attention of many, backward": (
        aten._scaled_dot_product_flash_attention_for_cpu_backward.default,
        lambda: grads_of_flash(200, 300, 32),
    ),
    "torch's own encoder layer": (
        aten._transformer_encoder_layer_fwd.default,
        lambda: (
            t(2, 20, 128), 128, 4, t(384, 128), t(384), t(128, 128), t(128), False, False, 1e-5,
            t(128), t(128), t(128), t(128), t(256, 128), t(256), t(128, 256), t(128),
        ),
    ),
}  # fmt: skip
LAID_OUT: dict[str, tuple[Any, Callable[[], tuple[Any, ...]]]] = {
    "convolution": (
        aten.convolution.default,
        lambda: (t(8, 64, 16, 16), t(128, 64, 3, 3), t(128), [2, 2], [1, 1], [1, 1], False, [0, 0], 1),
    ),
    "convolution of pictures": (
        aten.convolution.default,
        lambda: (t(8, 3, 64, 64), t(16, 3, 3, 3), t(16), [2, 2], [1, 1], [1, 1], False, [0, 0], 1),
    ),
    "convolution, backward": (
        aten.convolution_backward.default,
        lambda: (t(8, 128, 8, 8), t(8, 64, 16, 16), t(128, 64, 3, 3), [128], [2, 2], [1, 1], [1, 1], False, [0, 0], 1,
                 [True] * 3),
    ),
    "patches, backward": (
        aten.convolution_backward.default,
        lambda: (t(2, 128, 4, 4), t(2, 3, 64, 64), t(128, 3, 16, 16), [128], [16, 16], [0, 0], [1, 1], False, [0, 0], 1,
                 [False, True, True]),
    ),
    "product in bf16": (aten.mm.default, lambda: (t(300, 96, dtype=BF16), t(96, 64, dtype=BF16))),
    "product in bf16, by columns": (aten.mm.default, lambda: (t(700, 96, dtype=BF16).t(), t(700, 64, dtype=BF16))),
    "LSTM": (
        aten.mkldnn_rnn_layer.default,
        lambda: (t(20, 8, 64), t(512, 64), t(512, 128), t(512), t(512), t(8, 128), t(8, 128), False, [], 2, 128, 1,
                 True, False, False, True),
    ),
}  # fmt: skip


def inside(func: Any, args: tuple[Any, ...]) -> tuple[int, int]:
    """Bytes that the profiler saw beyond outputs, and those of the rule, which sees no contents."""
    made: list[Any] = []
    func(*args)
    peak = peak_bytes(lambda: made.append(func(*args)))
    outputs = {leaf.untyped_storage()._cdata: leaf.untyped_storage().nbytes() for leaf in tree_leaves(made)
               if isinstance(leaf, Tensor)}  # fmt: skip
    with FakeTensorMode() as mode:
        given = tree_map_only(Tensor, mode.from_tensor, args)
        out = func(*given)
        rule = workspace_of(func, given, {}, out)
        reserve = reserve_of(func, given, {}, out)
    assert rule is not None
    if reserve is not None:
        assert reserve[1] == made[0][-1].untyped_storage().nbytes()
    return peak - sum(outputs.values()), rule.tensors


@pytest.mark.parametrize("name", KERNELS)
def test_what_a_kernel_takes_inside(name: str) -> None:
    torch.set_num_threads(1)
    seen, rule = inside(KERNELS[name][0], KERNELS[name][1]())
    assert abs(rule - seen) <= 16  # a number that became a tensor


@on_avx512
@pytest.mark.parametrize("name", LAID_OUT)
def test_what_a_library_lays_out_anew(name: str) -> None:
    torch.set_num_threads(1)
    seen, rule = inside(LAID_OUT[name][0], LAID_OUT[name][1]())
    assert seen > 1000
    assert abs(rule - seen) <= 0.01 * seen


def test_threads_have_blocks_of_their_own() -> None:
    q = t(2, 4, 50, 16)
    func = aten._scaled_dot_product_flash_attention_for_cpu.default
    before = torch.get_num_threads()
    try:
        sizes = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found = workspace_of(func, (q, q, q), {}, func(q, q, q))
            assert found is not None
            sizes.append(found.tensors)
    finally:
        torch.set_num_threads(before)
    assert sizes[1] == 3 * sizes[0] > 0


def test_what_no_rule_tells_is_said() -> None:
    rehearsal = Rehearsal(
        lambda: torch.nn.Linear(4, 4), lambda model: torch.fft.rfft(model(torch.zeros(3, 4))).abs().sum()
    )
    record = rehearsal.inference()
    assert dict(record.unknown) == {"aten._fft_r2c": 1}


def test_a_kernels_own_memory_is_there_only_while_it_runs() -> None:
    def loss(model: torch.nn.Module) -> Tensor:
        return F.softplus(model(torch.zeros(30, 40))).logsumexp(-1).sum()

    record = Rehearsal(lambda: torch.nn.Linear(40, 500), loss).inference()
    blocks = [block for block in record.blocks if block.category == "workspaces"]
    place = next(i for i, op in enumerate(record.ops) if op.name == "aten.logsumexp")
    assert [(b.size, b.born, b.died) for b in blocks if b.size > 100] == [(4 * (30 * 500 + 30), place, place + 1)]
    assert record.peak()[1] == place
