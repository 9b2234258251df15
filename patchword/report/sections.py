"""What a page says, section by section."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from patchword.report.amounts import compact, duration, percent, plain, whole
from patchword.report.confusions import confusions
from patchword.report.content import Report
from patchword.report.curves import Evaluation, bad_samples, evaluations, figures
from patchword.report.listing import listing
from patchword.report.markup import Html, node
from patchword.report.measures import headlines, measure, ordered
from patchword.report.pictures import attention_maps, cards, shortened, summary
from patchword.report.pieces import Section, details, fact_list, heading, row, table, tile
from patchword.report.plot import plot


def sections(report: Report) -> list[Section]:
    """The parts that have something to say."""
    made = [_pictures, _texts, _attention, _results, confusions, _curves, _cost, _configuration, _environment]
    return [section for make in made for section in make(report)]


def headline(report: Report) -> Html | None:
    """The figures to know first."""
    tiles = []
    for result in report.results[:1]:
        on = f"on {result.split}, {whole(result.count)} sample{'s' if result.count != 1 else ''}"
        for name in headlines(result.metrics):
            shown = measure(name)
            tiles.append(tile(shown.label, shown.write(result.metrics[name]), on))
    cost = report.cost
    if cost.parameters is not None:
        tiles.append(tile("Parameters", compact(cost.parameters), f"{whole(cost.parameters)} numbers"))
    if cost.seconds is not None:
        steps = f"{whole(cost.steps)} steps" if cost.steps is not None else ""
        tiles.append(tile("Training", duration(cost.seconds), steps))
    return node("dl", {"class": "tiles"}, *tiles) if tiles else None


# ------------------------------------------------------------------ pictures


def _pictures(report: Report) -> Iterator[Section]:
    if report.pictures:
        lead = f"{summary(report.pictures)}."
        yield Section("pictures", "What it says of unseen pictures", [cards(report.pictures)], lead)


def _texts(report: Report) -> Iterator[Section]:
    if report.texts:
        head = [heading("Read"), heading("Said"), heading("Reference")]
        rows = [
            node("tr", None, *(node("td", {"dir": "auto"}, shortened(text) or "(nothing)") for text in cells))
            for told in report.texts
            for cells in [(told.read, told.prediction, " / ".join(told.references))]
        ]
        yield Section("texts", "What it says of unseen texts", [table(head, rows)], f"The first {len(rows)}.")


def _attention(report: Report) -> Iterator[Section]:
    maps = attention_maps(report.pictures)
    if maps:
        lead = (
            "Attention while each word was chosen: bright is where the model looked most. "
            "Each map is scaled to its own highest value, so compare places within a map, not heat between maps."
        )
        yield Section("attention", "Where it looked", maps, lead)


# ------------------------------------------------------------------ quality


def _results(report: Report) -> Iterator[Section]:
    if not report.results:
        return
    names = ordered(dict.fromkeys(name for result in report.results for name in result.metrics))
    head = node("tr", None, heading("Metric"), *(heading(result.split, "number") for result in report.results))
    rows = [row("Samples", "", [whole(result.count) for result in report.results])]
    for name in names:
        shown = measure(name)
        values = [shown.write(result.metrics.get(name)) for result in report.results]
        meaning = f"{shown.meaning}; {shown.better} is better" if shown.meaning and shown.better else shown.meaning
        rows.append(row(shown.label, meaning, values))
    yield Section("results", "Results", [table([head], rows)])


def _curves(report: Report) -> Iterator[Section]:
    plots = [plot(figure) for figure in figures(report.metrics)]
    evals = evaluations(report.metrics)
    bad = bad_samples(report.metrics)
    if not (plots or evals or bad):
        return
    content = [node("div", {"class": "plots"}, *plots)] if plots else []
    if bad:
        counts = ", ".join(f"{whole(count)} {reason}" for reason, count in sorted(bad.items()))
        content.append(node("p", {"class": "notes"}, f"Samples that could not be read: {counts}."))
    if evals:
        content.append(_evaluations(evals))
    yield Section("curves", "How training went", content)


def _evaluations(evals: Sequence[Evaluation]) -> Html:
    """Every evaluation in numbers; the one whose weights are the run's model is marked."""
    names = ordered(dict.fromkeys(name for e in evals for name in e.metrics))
    head = node(
        "tr", None, heading("Step"), heading("Split"), *(heading(measure(name).label, "number") for name in names)
    )
    best = max((e.step for e in evals if e.best), default=None)
    rows = []
    for e in evals:
        kept = e.best and e.step == best
        step = node("th", {"scope": "row"}, whole(e.step), node("span", {"class": "unit"}, " best") if kept else None)
        values = [node("td", {"class": "number"}, measure(name).write(e.metrics.get(name))) for name in names]
        rows.append(node("tr", {"class": "best" if kept else None}, step, node("td", None, e.split), *values))
    return details(f"Every evaluation in numbers ({whole(len(evals))})", table([head], rows))


# ------------------------------------------------------------------ what it took and what it was


def _cost(report: Report) -> Iterator[Section]:
    cost = report.cost
    content = []
    facts = {
        "Time of training": duration(cost.seconds) if cost.seconds is not None else None,
        "Optimizer steps": whole(cost.steps) if cost.steps is not None else None,
        "Samples seen": _with_rate(cost.samples, cost.seconds),
        "Text tokens seen": _with_rate(cost.tokens, cost.seconds),
        "Parameters": whole(cost.parameters) if cost.parameters is not None else None,
    }
    facts = {name: value for name, value in facts.items() if value is not None}
    if facts:
        content.append(fact_list(facts))
    if cost.components:
        total = sum(cost.components.values())
        rows = [_component(name, count, total) for name, count in cost.components.items()]
        head = node(
            "tr", None, heading("Part"), heading("Parameters", "number"), heading("Share", "number"), heading("")
        )
        content.append(table([head], rows))
    if content:
        yield Section("cost", "What it cost", [node("div", {"class": "pair"}, *content)])


def _with_rate(count: int | None, seconds: float | None) -> str | None:
    if count is None:
        return None
    return f"{whole(count)} ({plain(count / seconds)} a second)" if seconds else whole(count)


def _component(name: str, count: int, total: int) -> Html:
    share = count / total if total else 0.0
    bar = node(
        "svg",
        {"class": "bar", "viewBox": "0 0 100 6", "preserveAspectRatio": "none", "aria-hidden": "true"},
        node("rect", {"class": "rail", "width": 100, "height": 6}),
        node("rect", {"width": f"{100 * share:.1f}", "height": 6}),
    )
    cells = [node("td", {"class": "number"}, text) for text in (whole(count), percent(share))]
    return node("tr", None, node("th", {"scope": "row"}, name), *cells, node("td", {"class": "wide"}, bar))


def _configuration(report: Report) -> Iterator[Section]:
    if report.config_yaml.strip():
        lines = report.config_yaml.strip("\n").count("\n") + 1
        text = f"The complete configuration ({whole(lines)} line{'s' if lines != 1 else ''})"
        yield Section("configuration", "Configuration", [details(text, listing(report.config_yaml))])


def _environment(report: Report) -> Iterator[Section]:
    facts = {}
    for name, value in report.environment.items():
        parts = value if isinstance(value, Mapping) else {"": value}
        facts |= {f"{name} {part}".strip(): _fact(inner) for part, inner in parts.items()}
    if facts:
        yield Section("environment", "Environment", [fact_list(facts)])


def _fact(value: Any) -> str:
    if value is None or value in ([], ""):
        return "none"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    if isinstance(value, Mapping):
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)
