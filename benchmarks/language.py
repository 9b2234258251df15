"""Seconds to a validation loss of 1.88 on tiny Shakespeare: nanoGPT's recipe for CPUs, and the preset gpt-fast.

`python -m benchmarks.language ../shared/data/tinyshakespeare --threads 2`. Both train in one process in turns of some
steps, so that a busy machine slows both alike; the clock of each runs while it steps and draws its batches. Losses are
nanoGPT's: the mean of 20 batches of 12 random windows of 64 characters, the same for both, not in any time. nanoGPT's
recipe is written down anew here, in plain torch: its shape, optimizer, schedule and batches, nothing of this library.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchword.data.loader import Loader
from patchword.data.sampler import BatchSampler
from patchword.data.sources import open_source
from patchword.models.presets import load_config
from patchword.tasks.language import LanguageTask
from patchword.training.learner import Learner
from patchword.training.schedule import Schedule

WINDOW, BATCH, EVALUATED = 64, 12, 20
Scores = Callable[[Tensor], Tensor]


class Runner(NamedTuple):
    """A training that goes on by one step at a time."""

    name: str
    steps: int
    every: int
    """Steps between two looks at the loss."""
    run: Iterator[None]
    scores: Scores
    """Token ids [B, T] -> scores [B, T, V], the model being in evaluation."""


# ------------------------------------------------------------------ nanoGPT's recipe


class Layer(nn.Module):
    """A pre-norm block without offsets."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.first, self.second = nn.LayerNorm(dim, bias=False), nn.LayerNorm(dim, bias=False)
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.up, self.down = nn.Linear(dim, 4 * dim, bias=False), nn.Linear(4 * dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> same."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(self.first(x)).chunk(3, -1)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.second(x))))


class NanoGPT(nn.Module):
    """4 layers of 4 heads, 128 wide, a table tied to the scores."""

    def __init__(self, vocab: int, dim: int = 128, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocab, dim), nn.Embedding(WINDOW, dim)
        self.layers = nn.ModuleList(Layer(dim, heads) for _ in range(depth))
        self.last = nn.LayerNorm(dim, bias=False)
        for name, weight in self.named_parameters():
            if weight.ndim == 2:
                ends = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * depth) if ends else 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """int [B, T] -> scores [B, T, V]."""
        x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return F.linear(self.last(x), self.tokens.weight)


def nanogpt(train: Tensor, vocab: int, seed: int) -> Runner:
    """2,000 steps: AdamW, 1e-3 down to 1e-4 by a cosine after 100 steps of warm-up, gradients of length 1 at most."""
    torch.manual_seed(seed)
    model, steps, warmup = NanoGPT(vocab), 2000, 100
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))  # its own choice on a CPU: not fused

    def rate(step: int) -> float:
        if step < warmup:
            return 1e-3 * (step + 1) / (warmup + 1)
        return 1e-4 + 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) * 9e-4

    def run() -> Iterator[None]:
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate(step)
            starts = torch.randint(len(train) - WINDOW, (BATCH,))
            x = torch.stack([train[i : i + WINDOW] for i in starts])
            y = torch.stack([train[i + 1 : i + 1 + WINDOW] for i in starts])
            loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            yield

    return Runner("nanoGPT's recipe", steps, 50, run(), model)


# ------------------------------------------------------------------ ours


def ours(task: LanguageTask, source: Any, seed: int) -> Runner:
    """The preset, by the trainer's own parts."""
    config = task.run.train
    torch.manual_seed(seed)
    model = task.model_config().build()
    learner = Learner(task, model.train(), config, "cpu")
    examples = task.examples(source.splits["train"], train=True)
    loader = Loader(examples, BatchSampler(examples.lengths, task.run.data.batch, seed))
    schedule: Schedule = config.schedule.build(config.steps)

    def run() -> Iterator[None]:
        for step in range(1, config.steps + 1):
            learner.step([next(loader)], step, config.optimizer.lr * schedule.factor(step, 0.0))
            yield

    def scores(ids: Tensor) -> Tensor:
        model.eval()
        found = model({"text": ids}).heads["text"]
        model.train()
        return found

    return Runner("gpt-fast", config.steps, 25, run(), scores)


# ------------------------------------------------------------------ the race


@torch.no_grad()
def judged(scores: Scores, windows: Tensor) -> float:
    """Mean loss of windows int [n, T + 1]."""
    return F.cross_entropy(scores(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten()).item()


def race(runners: list[Runner], windows: Tensor, goal: float) -> list[dict[str, Any]]:
    """Every runner to its end, in turns; seconds until the goal was first seen (None: never), and in all."""
    found: list[dict[str, Any]] = [
        {"name": r.name, "steps": 0, "seconds": 0.0, "to_goal": None, "loss": math.inf} for r in runners
    ]
    going = list(range(len(runners)))
    while going:
        for number in list(going):
            runner, own = runners[number], found[number]
            start = time.perf_counter()
            done = sum(1 for _, _ in zip(range(runner.every), runner.run, strict=False))
            own["seconds"] += time.perf_counter() - start
            own["steps"] += done
            own["loss"] = judged(runner.scores, windows)
            if own["to_goal"] is None and own["loss"] <= goal:
                own["to_goal"] = own["seconds"]
            if own["steps"] >= runner.steps:
                going.remove(number)
    return found


def main() -> None:
    """Race, then print one line for each and the ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.language", description=__doc__)
    parser.add_argument("folder", type=Path, help="where input.txt is")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--goal", type=float, default=1.88)
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--alone", action="store_true", help="gpt-fast alone")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="changes of gpt-fast")
    options = parser.parse_intermixed_args()
    torch.set_num_threads(options.threads)
    changes = {key: json.loads(value) for key, _, value in (own.partition("=") for own in options.settings)}
    run = load_config("gpt-fast", {"data.source": str(options.folder), "train.seed": options.seed} | changes)
    source = open_source(run.data, run.task.fields)
    task = LanguageTask.prepare(run, source)
    train, val = (torch.from_numpy(task.stream(source.splits[n]).ids.astype("int64")) for n in ("train", "val"))
    generator = torch.Generator().manual_seed(options.seed)
    starts = torch.randint(len(val) - WINDOW, (EVALUATED * BATCH,), generator=generator)
    windows = torch.stack([val[i : i + WINDOW + 1] for i in starts])
    runners = [ours(task, source, options.seed)]
    if not options.alone:
        runners.append(nanogpt(train, task.vocab_size, options.seed))
    found = race(runners, windows, options.goal)
    if len(found) == 2 and found[0]["to_goal"] is not None:
        peer = found[1]["to_goal"] or found[1]["seconds"]  # where it never got there, all its time
        found[0]["ratio"] = found[0]["to_goal"] / peer
    if options.json:
        print(json.dumps({"load": os.getloadavg()[0], "threads": options.threads, "runs": found}))
        return
    for own in found:
        when = f"{own['to_goal']:.1f} s" if own["to_goal"] is not None else "never"
        print(f"{own['name']}: {options.goal} after {when}; {own['loss']:.3f} after {own['steps']} steps", end="")
        print(f" and {own['seconds']:.1f} s" + (f"; ratio {own['ratio']:.2f}" if "ratio" in own else ""))


if __name__ == "__main__":
    main()
