"""`python -m benchmarks.mechanisms`: every mechanism against fused softmax attention and against its public versions.

Time of a forward pass, of forward and backward, and of one decode step, and the bytes of tensors alive at the peak, at
growing lengths; one sequence, 8 heads of 64, random numbers. All of a length is measured in turn in one process.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.device import best_device, most_bytes, waited
from benchmarks.loglog import loglog
from benchmarks.mechanism_peers import PEERS
from patchword.cache import LayerCache
from patchword.config import (
    AttentionConfig,
    DifferentialAttentionConfig,
    LinearAttentionConfig,
    LinformerAttentionConfig,
    LocalPatternConfig,
    PerformerAttentionConfig,
    ReformerAttentionConfig,
    SoftmaxAttentionConfig,
    SparseAttentionConfig,
    TopKAttentionConfig,
)
from patchword.nn.mechanisms import Mechanism
from patchword.sequence import Mask, SequenceInfo

HEADS, HEAD_DIM = 8, 64
LENGTHS = (256, 512, 1024, 2048, 4096, 8192, 16384)
LONGER = (32768, 65536, 131072)
"""On CUDA beside."""
MOST_TOPK = 2048  # n^2 without a fused kernel: minutes beyond

Run = Callable[[], object]


def kinds(length: int) -> dict[str, AttentionConfig]:
    """What is measured, by name; all of one sequence, causal where they can be."""
    shared = {"num_heads": HEADS}
    made: dict[str, AttentionConfig] = {
        "softmax": SoftmaxAttentionConfig(**shared, causal=True),
        "softmax, window 256": SoftmaxAttentionConfig(**shared, causal=True, window=256),
        "sparse, local 256": SparseAttentionConfig(**shared, causal=True, pattern=LocalPatternConfig(reach=256)),
        "linear": LinearAttentionConfig(**shared, causal=True),
        "performer, 128 features": PerformerAttentionConfig(**shared, causal=True, num_features=128),
        "reformer": ReformerAttentionConfig(**shared, causal=True),
        "differential": DifferentialAttentionConfig(**shared, causal=True),
        "softmax, not causal": SoftmaxAttentionConfig(**shared),
        "linear, not causal": LinearAttentionConfig(**shared),
        "performer, not causal": PerformerAttentionConfig(**shared, num_features=128),
        "linformer, 128 rows": LinformerAttentionConfig(**shared, max_len=length, pooled_len=128),
    }
    if length <= MOST_TOPK:
        made["topk, 32 keys"] = TopKAttentionConfig(**shared, causal=True, k=32)
    return made


class Result(NamedTuple):
    """One mechanism at one length."""

    name: str
    length: int
    forward: float
    """Milliseconds."""
    both: float
    """Milliseconds, forward and backward."""
    step: float | None
    """Milliseconds of one decode step after `length` tokens; None: it does not decode."""
    peak: int
    """Bytes, forward and backward."""


def inputs(length: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys, values; [1, H, n, E]."""
    q, k, v = torch.randn(3, 1, HEADS, length, HEAD_DIM, device=device).unbind(0)
    return q.contiguous().requires_grad_(), k.contiguous().requires_grad_(), v.contiguous().requires_grad_()


def ours(config: AttentionConfig, length: int, device: torch.device) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The mechanism as a function of queries, keys, values."""
    mechanism: Mechanism = config.build(HEAD_DIM).to(device)
    for parameter in mechanism.parameters():
        torch.nn.init.normal_(parameter, std=length**-0.5)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return mechanism(q, q if config.shares_qk else k, v, Mask(SequenceInfo(), SequenceInfo(), length, length))

    return attend


def decode_step(config: AttentionConfig, length: int, device: torch.device) -> Run | None:
    """One more token after `length`; None: this kind does not decode."""
    if "cache" not in config.can or not config.causal:
        return None
    mechanism: Mechanism = config.build(HEAD_DIM).to(device)
    q, k, v = (x.detach() for x in inputs(length, device))
    cache: LayerCache = mechanism.new_cache(1, length + 1000, q, static=False)
    places, last = length, [x[:, :, -1:].contiguous() for x in (q, k, v)]

    @torch.inference_mode()
    def step() -> Tensor:
        nonlocal places
        out = mechanism(*last, Mask(SequenceInfo(), SequenceInfo(), 1, places + 1, places), None, cache)
        places += 1
        return out

    with torch.inference_mode():
        mechanism(q, k, v, Mask(SequenceInfo(), SequenceInfo(), length, length), None, cache)
    return step


def forward_of(attend: Callable[[Tensor, Tensor, Tensor], Tensor], length: int, device: torch.device) -> Run:
    """Without gradients."""
    q, k, v = (x.detach() for x in inputs(length, device))

    @torch.inference_mode()
    def run() -> Tensor:
        return attend(q, k, v)

    return run


def both_of(attend: Callable[[Tensor, Tensor, Tensor], Tensor], length: int, device: torch.device) -> Run:
    """With the gradients of queries, keys and values."""
    q, k, v = inputs(length, device)

    def run() -> None:
        attend(q, k, v).sum().backward()
        q.grad = k.grad = v.grad = None

    return run


def in_turn(runs: dict[str, Run], seconds: float) -> dict[str, float]:
    """Median milliseconds of each, all run once a round, for about this long (three rounds at least)."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    begin = perf_counter()
    while len(next(iter(times.values()))) < 3 or perf_counter() - begin < seconds:
        for name, run in runs.items():
            start = perf_counter()
            run()
            times[name].append(1000 * (perf_counter() - start))
    return {name: median(found) for name, found in times.items()}


def measure(length: int, seconds: float, device: torch.device) -> Iterator[Result]:
    """All mechanisms and their public peers at one length."""
    configs = kinds(length)
    calls = {name: ours(config, length, device) for name, config in configs.items()}
    for peer in PEERS:
        if peer.ours in configs and length <= peer.most:
            with device:  # what they make stands there
                calls[peer.name] = peer.make(length, HEADS, HEAD_DIM)
    forward = in_turn({name: waited(forward_of(call, length, device), device) for name, call in calls.items()}, seconds)
    both = in_turn({name: waited(both_of(call, length, device), device) for name, call in calls.items()}, seconds)
    steps = {name: decode_step(config, length, device) for name, config in configs.items()}
    step = in_turn({name: waited(run, device) for name, run in steps.items() if run is not None}, seconds / 4)
    for name, call in calls.items():
        run = both_of(call, length, device)
        yield Result(name, length, forward[name], both[name], step.get(name), most_bytes(run, device))


def slope(results: list[Result], name: str) -> float:
    """Slope of the log-log fit of peak bytes over length, from 1,024 tokens on."""
    points = [(math.log(r.length), math.log(r.peak)) for r in results if r.name == name and r.length >= 1024]
    mean_x, mean_y = (sum(p[i] for p in points) / len(points) for i in (0, 1))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def table(results: list[Result], lengths: tuple[int, ...]) -> str:
    """A row a mechanism: milliseconds at each length as forward / forward + backward."""
    head = "".join(f" {n:,} |" for n in lengths)
    rows = [f"| forward / with backward, ms |{head}", f"| --- |{' --- |' * len(lengths)}"]
    found = {(r.name, r.length): r for r in results}
    for name in dict.fromkeys(r.name for r in results):
        cells = [found.get((name, n)) for n in lengths]
        rows.append(f"| {name} |" + "".join(f" {c.forward:.1f} / {c.both:.1f} |" if c else " - |" for c in cells))
    return "\n".join(rows)


def ratios(results: list[Result]) -> str:
    """Each against its public version at the same length: above 1, ours is faster."""
    found = {(r.name, r.length): r for r in results}
    rows = ["| ours | public version | n | forward | with backward | bytes |", "| --- | --- | --- | --- | --- | --- |"]
    for peer in PEERS:
        for length in sorted({r.length for r in results}):
            a, b = found.get((peer.ours, length)), found.get((peer.name, length))
            if a and b:
                times = f"{b.forward / a.forward:.2f} x | {b.both / a.both:.2f} x | {b.peak / a.peak:.2f} x"
                rows.append(f"| {peer.ours} | {peer.name} | {length:,} | {times} |")
    return "\n".join(rows)


def crossovers(results: list[Result]) -> str:
    """From which measured length on each is faster than fused softmax attention with the same sight."""
    found = {(r.name, r.length): r for r in results}
    lengths = sorted({r.length for r in results})
    rows = ["| kind | forward faster from | with backward faster from | decode step at the longest |"]
    rows.append("| --- | --- | --- | --- |")
    for name in dict.fromkeys(r.name for r in results):
        if name in {peer.name for peer in PEERS} or name in ("softmax", "softmax, not causal"):
            continue
        full = "softmax, not causal" if name.endswith("not causal") or name.startswith("linformer") else "softmax"
        cells = []
        for what in ("forward", "both"):
            wins = [n for n in lengths if (name, n) in found]
            wins = [n for n in wins if getattr(found[name, n], what) < getattr(found[full, n], what)]
            tail = [n for n in wins if all(m in wins for m in lengths if m >= n and (name, m) in found)]
            cells.append(f"{tail[0]:,}" if tail else "never here")
        last = found.get((name, lengths[-1]))
        step = f"{last.step:.2f} ms (softmax {found['softmax', lengths[-1]].step:.2f})" if last and last.step else "-"
        rows.append(f"| {name} | {cells[0]} | {cells[1]} | {step} |")
    return "\n".join(rows)


def main() -> None:
    """Measure, print the tables, write the plots."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mechanisms", description=__doc__)
    parser.add_argument("--device", default=best_device(), help="cpu or cuda; default: cuda where it is there")
    parser.add_argument("--lengths", type=int, nargs="+", help="default: 256 ... 16,384, on cuda to 131,072")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=4.0, help="least time for each length and pass")
    parser.add_argument("--plots", type=Path, help="folder for time.svg and memory.svg")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)
    lengths = tuple(options.lengths or (LENGTHS + (LONGER if device.type == "cuda" else ())))
    results: list[Result] = []
    for length in lengths:
        results += measure(length, options.seconds, device)
        print(f"{length} tokens: done", file=sys.stderr, flush=True)
    print(table(results, lengths), crossovers(results), ratios(results), sep="\n\n")
    print("\nSlope of bytes over length, from 1,024 tokens on (1 is linear, 2 is quadratic):")
    for name in dict.fromkeys(r.name for r in results):
        print(f"- {name}: {slope(results, name):.2f}")
    if options.plots is not None:
        options.plots.mkdir(parents=True, exist_ok=True)
        mine = [name for name in kinds(lengths[0]) if not name.startswith("topk")]
        for file, title, unit, what in (
            ("time.svg", "Forward and backward", "ms", "both"),
            ("memory.svg", "Bytes of tensors at the peak, forward and backward", "MB", "peak"),
        ):
            scale = 1e6 if what == "peak" else 1.0
            lines = {n: [(r.length, getattr(r, what) / scale) for r in results if r.name == n] for n in mine}
            (options.plots / file).write_text(loglog(title, "tokens", unit, lines), encoding="utf-8")


if __name__ == "__main__":
    main()
