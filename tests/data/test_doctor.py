"""The doctor: every fault of a data set is counted, named, and judged."""

from __future__ import annotations

import io
import json
import random
import statistics
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchword.config import BadSamplesConfig, DataConfig, ImageConfig, ScenesConfig, SplitsConfig, UserError
from patchword.data.doctor import Finding, Report, check

CHOICE = random.Random(31)


def picture(width: int = 8, height: int = 6, kind: str = "JPEG") -> bytes:
    noise = np.frombuffer(CHOICE.randbytes(width * height * 3), dtype=np.uint8).reshape(height, width, 3)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, kind)
    return out.getvalue()


def data_set(root: Path, files: dict[str, bytes], rows: list[tuple[str, str, str]]) -> DataConfig:
    """A folder whose table has the rows (image, caption, split)."""
    root.mkdir(exist_ok=True)
    for name, data in files.items():
        (root / name).write_bytes(data)
    lines = [json.dumps({"image": image, "caption": caption, "split": split}) for image, caption, split in rows]
    (root / "t.jsonl").write_text("\n".join(lines))
    return DataConfig(source=str(root))


def healthy(root: Path, count: int = 10) -> tuple[DataConfig, dict[str, bytes], list[tuple[str, str, str]]]:
    files = {f"{i}.jpg": picture(CHOICE.randint(8, 40), CHOICE.randint(8, 40)) for i in range(count)}
    rows = [
        (name, " ".join(["word"] * CHOICE.randint(3, 12)) + f" {k}", "train" if i else "val")
        for i, name in enumerate(files)
        for k in range(CHOICE.randint(1, 4))
    ]
    return data_set(root, files, rows), files, rows


def problems(report: Report) -> dict[str, Finding]:
    found = {problem.kind: problem for problem in report.problems}
    assert len(found) == len(report.problems)
    assert all(problem.count >= len(problem.examples) > 0 for problem in report.problems)
    return found


def test_a_healthy_data_set(tmp_path: Path):
    config, files, rows = healthy(tmp_path)
    files |= {"extra.png": picture(kind="PNG")}
    (tmp_path / "extra.png").write_bytes(files["extra.png"])
    report = check(config)
    assert report.ok
    assert report.problems == []
    assert (report.count, report.checked, report.bad, report.bad_share) == (10, 10, 0, 0)
    assert {name: (split.samples, split.texts["caption"]) for name, split in report.splits.items()} == {
        "train": (9, sum(split == "train" for *_, split in rows)),
        "val": (1, sum(split == "val" for *_, split in rows)),
    }
    sizes = [Image.open(io.BytesIO(data)).size for name, data in files.items() if name != "extra.png"]
    for spread, numbers in ((report.widths, [w for w, _ in sizes]), (report.heights, [h for _, h in sizes])):
        assert spread == (min(numbers), statistics.median(numbers), pytest.approx(np.mean(numbers)), max(numbers))
    words = [len(caption.split()) for _, caption, _ in rows]
    assert report.words["caption"] == (min(words), statistics.median(words), pytest.approx(np.mean(words)), max(words))
    assert report.formats == {"JPEG": 10}
    assert (report.not_in_table, report.in_no_split) == (1, 0)


def test_every_reason_for_a_bad_picture(tmp_path: Path):
    config, files, rows = healthy(tmp_path)
    whole = picture(64, 64)
    bad = {
        "truncated.jpg": (whole[: len(whole) // 2], "truncated"),
        "empty.jpg": (b"", "empty"),
        "page.jpg": (b"<!doctype html><p>not found", "not an image"),
        "large.png": (picture(101, 100, "PNG"), "too many pixels"),
        "gone.jpg": (None, "missing"),
        "gone too.jpg": (None, "missing"),
    }
    broken = {name: data for name, (data, _) in bad.items() if data is not None}
    config = data_set(tmp_path, files | broken, rows + [(name, "what it was", "train") for name in bad])
    config = config.replace(image=ImageConfig(max_pixels=100 * 100))
    report = check(config)
    found = problems(report)
    counts = {kind: finding.count for kind, finding in found.items()}
    assert counts == {"truncated": 1, "empty": 1, "not an image": 1, "too many pixels": 1, "missing": 2}
    for name, (_, reason) in bad.items():
        assert any(example.startswith(f"{name}: ") for example in found[reason].examples)
    assert (report.checked, report.bad, report.ok) == (16, 6, False)
    assert sum(report.formats.values()) == 10
    assert check(config.replace(bad_samples=BadSamplesConfig(max_share=6 / 16))).ok
    assert not check(config.replace(bad_samples=BadSamplesConfig(max_share=6 / 16 - 0.01))).ok
    assert not check(config.replace(bad_samples=BadSamplesConfig(max_share=1, policy="fatal"))).ok


def test_few_bad_pictures_are_allowed(tmp_path: Path):
    config, files, rows = healthy(tmp_path)
    config = data_set(tmp_path, files, [*rows, ("gone.jpg", "not there at all", "val")])
    assert not check(config).ok
    report = check(config.replace(bad_samples=BadSamplesConfig(max_share=0.1)))
    assert report.ok
    assert report.bad_share == pytest.approx(1 / 11)
    assert report.allowed_share == 0.1


def test_duplicates_and_leaks(tmp_path: Path):
    files = {f"{i}.jpg": picture() for i in range(7)}
    files |= {"twin.jpg": files["0.jpg"], "triplet.jpg": files["0.jpg"], "leak.jpg": files["1.jpg"]}
    splits = {"leak.jpg": "val", "2.jpg": "val"}
    rows = [(name, f"the picture {name}", splits.get(name, "train")) for name in files]
    rows += [("3.jpg", "in both of them", "test")]  # the table says train and test
    report = check(data_set(tmp_path, files, rows))
    found = problems(report)
    assert set(found) == {"duplicate pictures", "split leakage"}
    assert found["duplicate pictures"].count == 2
    assert "0.jpg = twin.jpg = triplet.jpg" in found["duplicate pictures"].examples
    assert found["split leakage"].count == 2
    assert set(found["split leakage"].examples) == {"3.jpg in train and test", "1.jpg in train = leak.jpg in val"}
    assert report.ok  # a problem, but no reason to stop
    assert report.count == 11


def test_captions(tmp_path: Path):
    files = {f"{i}.jpg": picture() for i in range(4)}
    rows = [("0.jpg", "a dog there", ""), ("0.jpg", "a dog there", ""), ("0.jpg", "dog", ""), ("1.jpg", "a b c", "")]
    rows += [("1.jpg", "  ", ""), ("2.jpg", "", ""), ("3.jpg", "a b c", "train"), ("1.jpg", "two words", "train")]
    report = check(data_set(tmp_path, files, rows))
    found = problems(report)
    assert {kind: finding.count for kind, finding in found.items()} == {
        "empty captions": 2,
        "samples with empty texts only": 1,
    }
    assert found["empty captions"].examples == [f"{tmp_path}/t.jsonl, line {number}" for number in (5, 6)]
    assert found["samples with empty texts only"].examples == ["2.jpg"]
    assert (report.in_no_split, report.count, report.short_captions) == (1, 2, 1)
    rows = [(image, caption, "val") for image, caption, _ in rows]
    found = problems(check(data_set(tmp_path, files, rows)))
    assert found["duplicate captions"] == Finding("duplicate captions", 1, ["0.jpg: 'a dog there'"])


def test_names_in_lists_only(tmp_path: Path):
    config, files, _ = healthy(tmp_path)
    (tmp_path / "train.txt").write_text("\n".join([*list(files)[:5], *(f"lost {i}.jpg" for i in range(9))]))
    report = check(config.replace(splits=SplitsConfig(lists={"train": "train.txt"})))
    [finding] = report.problems
    assert finding == Finding("listed but not in the table", 9, [f"lost {i}.jpg" for i in range(5)])
    assert (report.in_no_split, report.count) == (5, 5)


@pytest.mark.parametrize("limit", [0, 1, 7, 99, 100, 1000])
def test_a_limit_is_spread_over_the_whole(limit: int, tmp_path: Path):
    names = [f"{i:03}.jpg" for i in range(100)]
    files = {name: picture(8 + i // 10) for i, name in enumerate(names)}
    config = data_set(tmp_path, files, [(name, f"a {name}", "train" if name < "050" else "val") for name in names])
    told: list[tuple[int, int]] = []
    report = check(config, limit, lambda done, total: told.append((done, total)))
    checked = min(limit, 100)
    assert report.checked == sum(report.formats.values()) == checked
    assert told == [(i + 1, checked) for i in range(checked)]
    assert report.count == 100
    assert sum(split.texts["caption"] for split in report.splits.values()) == 100
    if checked >= 7:
        assert report.widths.min == 8
        assert report.widths.max >= 16
        assert report.widths.median == pytest.approx(12.5, abs=0.5)


def test_formats(tmp_path: Path):
    kinds = {"JPEG": 3, "PNG": 2, "GIF": 1, "WebP": 1, "BMP": 1, "TIFF": 1, "other": 1}
    files = {
        f"{kind}{i}.x": picture(kind="PPM" if kind == "other" else kind.upper())
        for kind, count in kinds.items()
        for i in range(count)
    }
    files["shown.jpg"] = picture()  # so that the folder is seen to hold pictures
    report = check(data_set(tmp_path, files, [(name, f"a {name}", "train") for name in files if name != "shown.jpg"]))
    assert report.formats == kinds
    assert report.ok


@pytest.mark.parametrize("bad", [0, 3])
def test_the_report_is_plain_data_and_plain_lines(bad: int, tmp_path: Path):
    config, files, rows = healthy(tmp_path)
    config = data_set(tmp_path, files, rows + [(f"gone {i}.jpg", "not there at all", "train") for i in range(bad)])
    report = check(config)
    facts = report.to_json()
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["ok"], facts["count"]) == (bad == 0, 10 + bad)
    assert [(problem["kind"], problem["count"]) for problem in facts["problems"]] == [("missing", bad)] * bool(bad)
    assert facts["splits"]["train"]["samples"] == 9 + bad
    assert facts["widths"]["max"] == report.widths.max
    lines = list(report.lines())
    assert all("\n" not in line for line in lines)
    assert lines[0] == f"{tmp_path}: {10 + bad} pictures"
    verdict = "NOT ok: 3 of 13 pictures cannot be read (23.08%" if bad else "ok: 0 of 10 pictures cannot be read (0.00%"
    assert lines[-1].startswith(verdict)
    assert ("problem: missing: 3" in lines) == bool(bad)
    assert sum(line.startswith("  gone ") for line in lines) == bad


def test_only_a_few_examples_of_a_problem_are_shown(tmp_path: Path):
    _, files, rows = healthy(tmp_path)
    lost = [(f"gone {i}.jpg", "not there at all", "train") for i in range(7)]
    lines = list(check(data_set(tmp_path, files, rows + lost)).lines())
    start = lines.index("problem: missing: 7")
    assert [line[:8] for line in lines[start + 1 : start + 6]] == [f"  gone {i}" for i in range(5)]
    assert lines[start + 6] == "  ... and 2 more"


def test_what_cannot_be_opened_is_a_users_mistake(tmp_path: Path):
    with pytest.raises(UserError, match="no such folder"):
        check(DataConfig(source=str(tmp_path / "nothing")))


def test_the_scenes_are_healthy():
    report = check(DataConfig(scenes=ScenesConfig(train=200, val=40, test=40)))
    assert report.ok
    assert report.problems == []
    assert (report.count, report.formats) == (320, {"drawn": 320})
    assert report.widths == report.heights == (64, 64, 64, 64)


def test_the_shared_flickr8k(shared: Path):
    report = check(DataConfig(source=str(shared / "data" / "flickr8k")))
    found = problems(report)
    assert (report.ok, report.count, report.bad, report.in_no_split) == (True, 7000, 0, 91)
    assert {kind: finding.count for kind, finding in found.items()} == {
        "duplicate pictures": 1,
        "duplicate captions": 9,
    }
    assert report.words["caption"].max == 38
    assert report.widths == report.heights == (128, 128, 128, 128)
