"""Translation from the command line: two files of text to a run, its figures, and what it says of texts and lines."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

import patchword
from patchword.config import UserError

SMALL = [
    "model.source.dim=32",
    "model.target.dim=32",
    "model.trunk.dim=32",
    "model.source.depth=1",
    "model.trunk.depth=1",
    "data.batch.size=4",
    "train.steps=3",
    "train.schedule.warmup=1",
    "train.threads=1",
]
WORDS = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier"}


def texts(folder: Path) -> Path:
    """Numbers in English and German."""
    folder.mkdir(parents=True)
    said = [" ".join([*WORDS][i % 4 : i % 4 + 1 + i % 3]) for i in range(16)]
    for split in ("train", "val"):
        (folder / f"{split}.en").write_text("\n".join(said) + "\n")
        (folder / f"{split}.de").write_text("\n".join(" ".join(map(WORDS.__getitem__, s.split())) for s in said) + "\n")
    return folder


@pytest.fixture(scope="module")
def translated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translation")
    data = texts(folder / "texts")
    settings = dict(word.split("=") for word in SMALL)
    columns = {"data.columns.source": "en", "data.columns.target": "de"}
    numbers = {key: int(value) for key, value in settings.items()}
    patchword.train("translator-tiny", folder / "run", **{"data.source": str(data)}, **columns, **numbers)
    return folder / "run"


def test_train_and_evaluate(call, translated: Path, tmp_path: Path) -> None:
    data = texts(tmp_path / "texts")
    columns = ["data.columns.source=en", "data.columns.target=de"]
    done = call("train", "translator-tiny", f"data.source={data}", *columns, *SMALL, "--out", tmp_path / "r", "--json")
    assert done.code == 0, done.err
    assert {"loss", "bleu", "chrf", "cer", "wer", "exact_match"} <= set(done.json["metrics"])
    assert (tmp_path / "r" / "report.html").is_file()
    out = call("evaluate", translated, "--json").json
    assert out["count"] == 16
    assert set(out["metrics"]) >= {"bleu", "bleu_lowercase", "chrf", "cer", "wer", "exact_match", "perplexity"}
    numbers = call("evaluate", translated, "digits", "--limit", "3", "--json")  # named columns are those of files
    assert numbers.code == 0, numbers.err
    refused = call("evaluate", translated, "digits", "--set", "data.columns.source=en")
    assert (refused.code, refused.err.count("data.columns.source=en: the embedded data set has no columns")) == (2, 1)


def test_predict_texts(call, translated: Path) -> None:
    one = call("predict", translated, "--text", "one two", "--json").json["predictions"]
    assert [set(row) for row in one] == [{"id", "text", "score"}]
    two = call("predict", translated, "--text", "one two", "--text", "three", "--json").json["predictions"]
    assert [row["id"] for row in two] == ["text 0", "text 1"]
    assert two[0]["text"] == one[0]["text"]
    assert call("predict", translated, "--text", "one two").out == one[0]["text"] + "\n"


def test_as_many_lines_come_out_as_go_in(call, translated: Path, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "in.txt").write_text("one two\n\n three \n")
    out = call("predict", translated, "--lines", tmp_path / "in.txt").out
    two = call("predict", translated, "--text", "one two", "--text", "three", "--json").json["predictions"]
    assert out.split("\n") == [two[0]["text"], "", two[1]["text"], ""]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"three")))
    assert call("predict", translated, "--lines", "-").out == two[1]["text"] + "\n"
    (tmp_path / "nothing.txt").write_text("")
    assert call("predict", translated, "--lines", tmp_path / "nothing.txt").out == ""


def test_python_takes_several_texts(translated: Path) -> None:
    trained = patchword.load(translated)
    many = trained.predict(text=["one", "two"] * 40)  # more than one batch
    assert len(many) == 80
    assert len({said.text for said in many[::2]}) == 1
    assert trained.predict(text=[]) == []
    with pytest.raises(UserError, match="2 pictures but 3 texts"):
        trained.predict(["a.jpg", "b.jpg"], text=["a", "b", "c"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--text", "a", "--lines", "b"], "--text and --lines both say what is read"),
        (["--lines", "nowhere.txt"], "--lines nowhere.txt: No such file"),
        ([], "say the source: --text TEXT"),
        (["--image", "a.png", "--text", "one"], "cannot read picture a.png"),
    ],
)
def test_mistakes(call, translated: Path, words: list[str], message: str) -> None:
    done = call("predict", translated, *words)
    assert done.code == 2
    assert message in done.err


def test_files_that_do_not_go_together(call, tmp_path: Path) -> None:
    data = texts(tmp_path / "texts")
    (data / "val.de").unlink()
    done = call("train", "translator-tiny", f"data.source={data}", *SMALL, "--out", tmp_path / "run")
    assert done.code == 2
    assert "parallel texts in de, en: say what is translated into what" in done.err
    columns = ["data.columns.source=en", "data.columns.target=de"]
    done = call("train", "translator-tiny", f"data.source={data}", *columns, *SMALL, "--out", tmp_path / "run")
    assert done.code == 2
    assert "val.en has no partner" in done.err
    assert not (tmp_path / "run").exists()
