"""What a person sees of a training; always on standard error."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task
from rich.table import Column
from rich.text import Text

from patchword.training.signals import write_plainly


class Display(Protocol):
    """Shows a training as it goes."""

    def start(self, step: int, steps: int) -> None:
        """Training begins at `step` of `steps`."""
        ...

    def advance(self, step: int) -> None:
        """Step `step` is done; called after every step."""
        ...

    def log(self, line: Mapping[str, Any], left: float) -> None:
        """A line of metrics (see `patchword.training.log`), and the seconds of training that are left."""
        ...

    def say(self, text: str) -> None:
        """Something that a person should know."""
        ...

    def answer(self, text: str) -> None:
        """The answer to a signal: to be seen at once, and called where nothing may be printed."""
        ...

    def stop(self) -> None:
        """Training is over."""
        ...


class Silent:
    """Shows nothing."""

    def start(self, step: int, steps: int) -> None:
        """Nothing."""

    def advance(self, step: int) -> None:
        """Nothing."""

    def log(self, line: Mapping[str, Any], left: float) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def answer(self, text: str) -> None:
        """A bare write: whoever asked should know even here."""
        write_plainly(text)

    def stop(self) -> None:
        """Nothing."""


class Lines:
    """One plain line at a time, for files and pipes.

    Args:
        stream: where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.steps = stream, 0

    def start(self, step: int, steps: int) -> None:
        """Note where it begins."""
        self.steps = steps

    def advance(self, step: int) -> None:
        """Nothing: lines come with metrics only."""

    def log(self, line: Mapping[str, Any], left: float) -> None:
        """A line of figures."""
        self.say(f"step {line['step']}/{self.steps}  {describe(line, left)}")

    def say(self, text: str) -> None:
        """The text."""
        self.stream.write(text + "\n")
        self.stream.flush()

    def answer(self, text: str) -> None:
        """A bare write."""
        write_plainly(text)

    def stop(self) -> None:
        """Nothing."""


class _Figures(ProgressColumn):
    """The figures, and before them what must be seen at once."""

    note = ""

    def render(self, task: Task) -> Text:
        """Rich calls this four times a second."""
        return Text("  ".join(filter(None, [self.note, task.fields["figures"]])))


class Live:
    """A bar with figures that change in place, and evaluations above it, for terminals.

    Args:
        stream: the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._figures = _Figures(table_column=Column(overflow="fold"))
        self.progress = Progress(
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            BarColumn(bar_width=12),
            self._figures,
            console=Console(file=stream),
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.bar = self.progress.add_task("", total=None, figures="starting")
        self.steps = 0

    def start(self, step: int, steps: int) -> None:
        """Show the bar."""
        self.steps = steps
        self.progress.update(self.bar, total=steps, completed=step)
        self.progress.start()

    def advance(self, step: int) -> None:
        """Move the bar."""
        self.progress.update(self.bar, completed=step)

    def log(self, line: Mapping[str, Any], left: float) -> None:
        """New figures in the bar; an evaluation stays as a line above it."""
        if line["kind"] == "train":
            self.progress.update(self.bar, figures=describe(line, left))
        else:
            text = f"step {line['step']}/{self.steps}  {describe(line, left)}"
            self.say("\n".join(folded(text, self.progress.console.width)))

    def say(self, text: str) -> None:
        """The text, above the bar."""
        self.progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def answer(self, text: str) -> None:
        """In the bar: it is drawn by another thread, and would draw over any line below it."""
        self._figures.note = text

    def stop(self) -> None:
        """Leave the bar as it is."""
        self._figures.note = ""
        self.progress.stop()


def open_display(stream: TextIO | None = None) -> Display:
    """What suits the stream (None: standard error): a live bar on a terminal, plain lines elsewhere."""
    out: TextIO = stream if stream is not None else sys.stderr
    return Live(out) if out.isatty() else Lines(out)


def describe(line: Mapping[str, Any], left: float) -> str:
    """A line of metrics for a person."""
    if line["kind"] == "eval":
        figures = "  ".join(f"{name} {number(value)}" for name, value in line["metrics"].items())
        return f"{line['split']}: {figures}" + ("  (best so far)" if line["best"] else "")
    parts = [
        f"loss {number(line['loss'])}",
        f"lr {line['lr']:.2e}",
        f"{number(line['samples_per_second'])} samples/s",
        f"{number(line['tokens_per_second'])} tokens/s",
        f"data wait {line['data_wait']:.0%}",
        f"{duration(left)} left",
    ]
    return "  ".join(parts)


def folded(text: str, width: int) -> list[str]:
    """A line as several of that width, broken only between figures: where two blanks stand."""
    lines: list[str] = []
    for part in text.split("  "):
        if lines and len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(f"    {part}" if lines else part)
    return lines


def number(value: float) -> str:
    """Four significant digits, thousands as k and M."""
    for unit, size in (("M", 1e6), ("k", 1e4)):
        if abs(value) >= size:
            return f"{value / (1e6 if unit == 'M' else 1e3):.3g}{unit}"
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """As hours and minutes, or seconds."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
