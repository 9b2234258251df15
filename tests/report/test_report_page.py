from __future__ import annotations

import base64
import hashlib
import math
import re
from pathlib import Path

import numpy as np
import pytest

import patchword.report
from patchword.config import RunError
from patchword.report import Cost, Report, Result, Shown, Told, write_report
from patchword.report.page import render

RANDOM = np.random.default_rng(3)
HOSTILE = (
    "</title></style></pre><script>alert('x')</script><img src='https://evil.example/x' onerror=alert(1)> "
    '" & \x00\ud800 \u202e'
)


def picture(*sides: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (*(sides or (16, 16)), 3), dtype=np.uint8)


def full(text: str = "a text", count: int = 3, sides: tuple[int, int] = (16, 16)) -> Report:
    """A report with everything in it, every text being `text`."""
    words = [(text, RANDOM.random((14, 14))) for _ in range(12)]
    shown = [
        Shown(picture(*sides), text, (text, text, text), i % 2 == 0, words if i < 6 else None) for i in range(count)
    ]
    rows = [
        {"kind": "train", "step": step, "time": step / 5, "loss": 3 / step, "lr": 1e-3, "grad_norm": 1.0 + step % 3,
         "samples_per_second": 99.0, "tokens_per_second": 999.0, "data_wait": 0.01} for step in range(1, 2001)
    ]  # fmt: skip
    rows += [
        {"kind": "eval", "step": step, "split": text, "best": True, "metrics": {"loss": 2.0, "cider_d": 0.5, text: 1.0}}
        for step in (1000, 2000)
    ]
    rows.append({"kind": "bad", "id": text, "reason": text, "message": text})
    return Report(
        title=text,
        results=[Result(text, {"scene_accuracy": 0.9625, "cider_d": 3.5, text: 1.0}, 2000), Result("other", {}, 0)],
        pictures=shown,
        metrics=rows,
        cost=Cost(1_234_567, {text: 1_000_000, "head": 234_567}, 252.0, 2000, 128_000, 900_000),
        config_yaml=f"name: {text}\nsteps: 3  # {text}\n",
        environment={
            text: text,
            "packages": {text: text, "torch": "2.13.0"},
            "argv": [text],
            "commit": None,
            "threads": 2,
        },
        notes=[text],
    )


EMPTY = Report(title="")
REPORTS = {
    "empty": EMPTY,
    "full": full(),
    "hostile": full(HOSTILE),
    "one row": Report("t", metrics=[{"kind": "train", "step": 20, "loss": 1.0}]),
    "one evaluation": Report("t", metrics=[{"kind": "eval", "step": 20, "metrics": {"loss": 1.0}}]),
    "nothing finite": Report(
        "t",
        metrics=[
            {"kind": "train", "step": 1, "loss": math.nan},
            {"kind": "eval", "step": 1, "metrics": {"loss": math.inf}},
        ],
        results=[Result("test", {"perplexity": math.inf, "loss": math.nan}, 0)],
        cost=Cost(0, {"a": 0}, 0.0, 0, 0, 0),
    ),
    "missing fields": Report("t", metrics=[{}, {"kind": "train"}, {"kind": "eval"}, {"kind": "bad"}, {"step": 3}]),
    "a picture alone": Report("t", pictures=[Shown(picture(), "a dog")]),
    "texts": Report("t", texts=[Told("a dog", "ein Hund", ("der Hund", HOSTILE)), Told(HOSTILE, "")]),
}


@pytest.fixture(scope="module", params=REPORTS, ids=lambda name: name.replace(" ", "-"))
def case(request, parse):
    text = render(REPORTS[request.param])
    return text, parse(text)


def test_the_page_is_sound(case) -> None:
    text, page = case
    assert text.startswith('<!doctype html>\n<html lang="en">')
    assert len(page.all("h1")) == len(page.all("main")) == len(page.all("body")) == 1
    assert page.tags[0] == ("html", {"lang": "en"})
    assert text.encode("utf-8")


def test_nothing_comes_from_outside(case) -> None:
    _text, page = case
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), f"<{tag} {name}>"
            if name in ("src", "href"):
                assert value is not None
                assert value.startswith("data:") or (value.startswith("#") and value[1:] in ids), (
                    f"<{tag} {name}={value}>"
                )
            assert name not in ("srcset", "action", "formaction", "ping", "style", "background", "srcdoc")
    assert {tag for tag, _ in page.tags}.isdisjoint(
        {"script", "iframe", "object", "embed", "form", "base", "foreignobject"}
    )
    style = page.text("style")
    assert not re.search(r"url\(|@import|expression", style)


def test_the_policy_lets_in_this_style_and_no_script(case) -> None:
    _, page = case
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    digest = base64.b64encode(hashlib.sha256(page.text("style").encode()).digest()).decode()
    assert rules == {
        "default-src": "'none'", "img-src": "data:", "style-src": f"'sha256-{digest}'", "base-uri": "'none'",
        "form-action": "'none'",
    }  # fmt: skip
    first = next(i for i, (tag, _) in enumerate(page.tags) if tag in ("style", "link", "img"))
    assert any(a.get("http-equiv") for _, a in page.tags[:first]), "the policy must come before what it governs"


def test_who_cannot_see_is_told(case) -> None:
    _, page = case
    assert all(image.get("alt") for image in page.all("img"))
    assert all(svg.get("aria-label") or svg.get("aria-hidden") == "true" for svg in page.all("svg"))
    headings = [tag for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == "h1"
    assert set(headings[1:]) <= {"h2"}
    ids = {attributes.get("id") for _, attributes in page.tags}
    assert all(section["aria-labelledby"] in ids for section in page.all("section"))


@pytest.fixture(scope="module")
def whole_page(parse):
    return parse(render(full()))


def test_every_section_is_there_and_in_the_contents(whole_page) -> None:
    page = whole_page
    names = ["pictures", "attention", "results", "curves", "cost", "configuration", "environment"]
    assert [section["id"] for section in page.all("section")] == names
    assert [a["href"] for a in page.all("a")] == [f"#{name}" for name in names]


def test_the_headline(whole_page) -> None:
    header = whole_page.text("header").replace("\N{NO-BREAK SPACE}", " ")
    for text in ("Scene accuracy96.2 %", "CIDEr-D3.500", "Parameters1.23M", "Training4 min 12 s2,000 steps"):
        assert text in header


def test_texts_stand_beside_what_was_said_of_them(parse) -> None:
    page = parse(render(REPORTS["texts"]))
    cells = page.text("td")
    assert all(text in cells for text in ("a dog", "ein Hund", "der Hund / ", "(nothing)"))


def test_what_is_empty_is_left_out(parse) -> None:
    page = parse(render(EMPTY))
    assert page.text("h1") == "Untitled run"
    assert not page.all("section")
    assert not page.all("nav")
    assert not page.all("dl")


def test_the_numbers_are_on_the_page(whole_page) -> None:
    page = whole_page
    cells = page.texts["td"]
    assert "0.5000" in cells  # an evaluation
    assert "81.0\N{NO-BREAK SPACE}%" in cells  # a component's share
    facts = page.text("dl")
    assert "128,000 (507.94 a second)" in facts
    assert "torch" in facts
    assert "Samples that could not be read: 1 a text." in page.text("p")
    assert page.text("code") == "name: a text\nsteps: 3  # a text\n"
    assert len(page.classed("best")) == 1


def test_hostile_texts_are_shown_as_they_are(parse) -> None:
    page = parse(render(full(HOSTILE)))
    shown = HOSTILE.replace("\x00", "�").replace("\ud800", "�")
    assert page.text("h1") == shown
    assert shown in page.text("p")
    assert shown in page.text("code")
    assert shown in page.text("th")
    assert shown in page.text("dt")


# ------------------------------------------------------------------ size and writing


def test_24_photos_stay_below_3_megabytes(tmp_path) -> None:
    rows, columns = np.mgrid[0:480, 0:640]
    photos = []
    for _ in range(24):  # a photo's waves with more grain than a camera leaves
        waves = [np.sin(rows / RANDOM.uniform(5, 50)) + np.cos(columns / RANDOM.uniform(5, 50)) for _ in range(3)]
        grain = RANDOM.normal(0, 12, (480, 640, 1))
        photos.append((128 + 50 * np.stack(waves, -1) + grain).clip(0, 255).astype(np.uint8))
    words = [("word", RANDOM.random((14, 14))) for _ in range(12)]
    shown = [Shown(p, "a b", ("a", "b"), True, words if i < 6 else None) for i, p in enumerate(photos)]
    write_report(tmp_path / "r.html", Report("t", pictures=shown, metrics=full().metrics))
    assert (tmp_path / "r.html").stat().st_size < 3_000_000


def test_24_small_scenes_stay_small() -> None:
    assert len(render(full(count=24, sides=(64, 64)))) < 1_500_000  # noise: nothing compresses worse


def test_the_same_report_is_the_same_file(tmp_path) -> None:
    report = full(count=1)
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, report)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "b.html"]


def test_a_report_that_cannot_be_written(tmp_path) -> None:
    with pytest.raises(RunError, match=r"cannot write the report .*gone"):
        write_report(tmp_path / "gone" / "report.html", EMPTY)
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="cannot write the report"):
        write_report(tmp_path / "folder", EMPTY)


def test_a_wrong_picture_leaves_the_old_report(tmp_path) -> None:
    path = tmp_path / "report.html"
    write_report(path, EMPTY)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="a picture is uint8"):
        write_report(path, Report("t", pictures=[Shown(np.zeros((3, 8, 8)), "a")]))
    assert path.read_bytes() == before


# ------------------------------------------------------------------ colours


def _luminance(colour: str) -> float:
    """WCAG 2.2 relative luminance of #rrggbb."""
    levels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("number", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_on_its_ground(number) -> None:
    style = Path(patchword.report.__file__).with_name("style.css").read_text()
    block = re.findall(r":root \{(.*?)\}", style, re.S)[number]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    pairs = [(name, ground) for name in ("ink", "quiet", "accent") for ground in ("page", "raised")]
    pairs += [("right", "right-back"), ("wrong", "wrong-back"), ("c0", "raised"), ("c1", "raised")]
    for text, ground in pairs:
        assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert all(_contrast(colours[f"c{i}"], colours["page"]) >= 3 for i in range(6))
