from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchword.config import UserError
from patchword.report import read_metrics
from patchword.report.curves import Point, bad_samples, evaluations, figures
from patchword.report.measures import headlines, measure, ordered
from patchword.report.plot import plot


def train(step, **fields) -> dict:
    return {"kind": "train", "step": step, **fields}


def evaluated(step, split="val", best=False, **metrics) -> dict:
    return {"kind": "eval", "step": step, "split": split, "best": best, "metrics": metrics}


def write(folder, text: str) -> None:
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")


# ------------------------------------------------------------------ reading


def test_reading(tmp_path) -> None:
    rows = [train(20, loss=1.5), evaluated(20, loss=1.25)]
    write(tmp_path, "".join(json.dumps(row) + "\n" for row in rows))
    assert read_metrics(tmp_path) == rows


def test_reading_nothing(tmp_path) -> None:
    assert read_metrics(tmp_path) == []
    write(tmp_path, "")
    assert read_metrics(tmp_path) == []


def test_a_last_line_cut_short_is_left_out(tmp_path) -> None:
    write(tmp_path, '{"step": 1}\n{"step": 2, "lo')
    assert read_metrics(tmp_path) == [{"step": 1}]


@pytest.mark.parametrize("line", ["[1, 2]", "3", "not json"])
def test_a_wrong_line_is_named(tmp_path, line) -> None:
    write(tmp_path, f'{{"step": 1}}\n{line}\n{{"step": 3}}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2"):
        read_metrics(tmp_path)


# ------------------------------------------------------------------ figures


def test_which_figures_there_are() -> None:
    rows = [
        train(20, loss=3.0, lr=1e-3, grad_norm=1.0, samples_per_second=10, tokens_per_second=99, data_wait=0.1),
        evaluated(20, loss=2.0, bleu1=10, bleu4=1, scene_accuracy=0.1, perplexity=7, own_metric=1),
        evaluated(40, loss=1.0, bleu1=20, bleu4=2, scene_accuracy=0.2, perplexity=3, own_metric=2),
    ]
    made = {figure.title: figure for figure in figures(rows)}
    assert list(made) == [
        "Loss", "Scene accuracy", "BLEU", "Own metric", "Learning rate", "Gradient norm", "Speed", "Speed in text",
        "Waiting for data",
    ]  # fmt: skip
    assert [line.label for line in made["Loss"].lines] == ["training", "val"]
    assert made["Loss"].lines[1].points == (Point(20, 2.0), Point(40, 1.0))
    assert [line.label for line in made["BLEU"].lines] == ["BLEU-4", "BLEU-1"]


def test_figures_of_little() -> None:
    assert figures([]) == []
    assert figures([{}, {"kind": "train"}, {"kind": "train", "step": 1}, {"kind": "odd", "step": 1, "loss": 1}]) == []
    assert [f.title for f in figures([train(1, loss=2.0)])] == ["Loss"]
    assert [f.title for f in figures([evaluated(1, loss=2.0, cider_d=1)])] == ["Loss"]  # one value is no course


def test_of_several_lines_at_a_step_the_last_counts_and_steps_are_sorted() -> None:
    rows = [train(3, loss=9.0), train(1, loss=5.0), train(3, loss=1.0), train("x", loss=2.0), train(None, loss=2.0)]
    assert figures(rows)[0].lines[0].points == (Point(1, 5.0), Point(3, 1.0))
    assert [e.metrics for e in evaluations([evaluated(1, loss=3), evaluated(1, loss=4)])] == [{"loss": 4}]


@pytest.mark.parametrize("bad", [None, math.nan, math.inf, -math.inf, "much", [], 10**400])
def test_what_is_not_finite_is_a_gap(parse, bad) -> None:
    rows = [train(1, loss=3.0), train(2, loss=2.0), train(3, loss=bad), train(4, loss=1.0)]
    figure = figures(rows)[0]
    assert figure.lines[0].points[2] == Point(3, None)
    page = parse(plot(figure))
    assert "1 value not finite" in page.text("figcaption")
    assert [path["d"].count("M") for path in page.all("path")] == [2]


def test_several_splits_have_a_line_each() -> None:
    rows = [evaluated(step, split, cider_d=step, bleu4=1, bleu1=2) for step in (1, 2) for split in ("val", "novel")]
    made = {figure.title: figure for figure in figures(rows)}
    assert [line.label for line in made["CIDEr-D"].lines] == ["novel", "val"]
    assert [line.label for line in made["BLEU"].lines] == [
        "BLEU-4, novel",
        "BLEU-1, novel",
        "BLEU-4, val",
        "BLEU-1, val",
    ]


def test_bad_samples_are_counted_once_each() -> None:
    rows = [{"kind": "bad", "id": name, "reason": reason} for name, reason in
            [("a", "missing"), ("b", "truncated"), ("a", "missing"), ("c", "missing")]]  # fmt: skip
    assert bad_samples(rows) == {"missing": 2, "truncated": 1}


# ------------------------------------------------------------------ plots


ODD = st.none() | st.booleans() | st.integers(-5, 10**30) | st.floats() | st.text(max_size=5)
ROW = st.fixed_dictionaries(
    {"kind": st.sampled_from(["train", "eval", "bad", "other"])},
    optional={
        "step": ODD, "loss": ODD, "lr": ODD, "grad_norm": ODD, "data_wait": ODD, "split": ODD, "best": ODD,
        "metrics": st.none() | st.dictionaries(st.sampled_from(["loss", "bleu1", "bleu4", "x<y>"]), ODD),
    },
)  # fmt: skip
PLACES = frozenset(["x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height"])


@given(st.lists(ROW, max_size=12))
def test_any_metrics_give_sound_plots(parse, rows) -> None:
    for figure in figures(rows):
        page = parse(plot(figure))
        places = [value for _, attributes in page.tags for name, value in attributes.items() if name in PLACES]
        assert places
        assert all(-1 <= float(place) <= 521 for place in places)
        assert not any(word in path["d"] for path in page.all("path") for word in ("nan", "inf", "e"))


def test_a_plot_shows_the_values(parse) -> None:
    rows = [train(step, loss=4.0 - step / 100) for step in (0, 100, 200)] + [evaluated(200, loss=2.5)]
    page = parse(plot(figures(rows)[0]))
    assert page.all("path")[0]["d"].count("L") == 2
    heights = [float(circle["cy"]) for circle in page.all("circle") if "r" in circle and circle["r"] == "2.6"]
    assert heights[0] < heights[1] < heights[2]
    assert heights[1] < heights[3] < heights[2]  # 2.5 lies between 3 and 2
    spoken = page.all("svg")[0]["aria-label"]
    assert "Training goes from 4 at step 0 to 2 at step 200; lowest 2 at 200, highest 4 at 0." in spoken
    assert "Val goes from 2.500 at step 200" in spoken
    assert "step 200: training 2" in page.text("title")
    assert "step 200: val 2.500" in page.text("title")


def test_one_point_and_no_finite_point(parse) -> None:
    page = parse(plot(figures([train(7, loss=2.0)])[0]))
    assert len(page.all("circle")) == 2  # the point itself, and the one under the pointer
    page = parse(plot(figures([train(7, loss=None), train(8, loss=None)])[0]))
    assert "2 values not finite" in page.text("figcaption")
    assert page.all("path") == []
    assert page.all("circle") == []


def test_a_long_training_stays_small() -> None:
    rows = [train(step, loss=5 / (1 + step / 500)) for step in range(0, 200_000, 10)]
    text = plot(figures(rows)[0])
    assert len(text) < 40_000
    assert "step 199,990" in text


def test_thinning_keeps_gaps_and_means(parse) -> None:
    rows = [train(step, loss=None if 4000 <= step < 4400 else 1.0 + step % 2) for step in range(6000)]
    page = parse(plot(figures(rows)[0]))
    assert page.all("path")[0]["d"].count("M") == 2
    assert "400 values not finite" in page.text("figcaption")


# ------------------------------------------------------------------ names


def test_names_of_metrics() -> None:
    assert measure("cider_d").label == "CIDEr-D"
    assert measure("scene_accuracy_1_2").label == "Scene accuracy, 1 2"
    assert measure("scene_accuracy_1_2").write(0.5).startswith("50.0")
    assert measure("my_own").label == "My own"
    names = ["zebra", "loss", "bleu1", "scene_accuracy_2", "bleu4", "scene_accuracy", "distinct_share"]
    assert ordered(names) == ["scene_accuracy", "scene_accuracy_2", "bleu4", "bleu1", "loss", "distinct_share", "zebra"]
    assert headlines(names) == ["scene_accuracy", "bleu4", "loss"]
    assert headlines(["my_own"]) == ["my_own"]
    assert headlines([]) == []
