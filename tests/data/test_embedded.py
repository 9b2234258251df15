"""The embedded data sets: a setting that could change nothing is refused, whatever the task reads."""

from __future__ import annotations

from typing import Any

import pytest

from patchword.config import DataConfig, Fields, RunConfig, UserError, override
from patchword.data.sources import open_source
from patchword.models.presets import load_config

TASKS = {
    "captioner-tiny": "scenes",
    "coca-small": "scenes",
    "translator-tiny": "scenes",
    "translator-small": "digits",
    "vqa-tiny": "scenes",
    "vlm-small": "scenes",
    "classifier-tiny": "scenes",
    "clip-tiny": "scenes",
    "gpt-tiny": "scenes",
    "bert-small": "scenes",
    "masked-image-tiny": "scenes",
}
"""A preset of each task, and a source that it can read."""
FILES: list[tuple[str, Any]] = [
    ("table", "a.csv"),
    ("images", "photos"),
    *((f"columns.{name}", "words") for name in DataConfig().columns.to_dict()),
    ("splits.val", 0.2),
    ("splits.test", 0.2),
    ("splits.seed", 1),
    ("splits.lists.train", "train.txt"),
]
PAIRS = Fields(("source", "target"), image=False)


def run_of(name: str, **changes: Any) -> RunConfig:
    return load_config(name, {f"data.{path}": value for path, value in changes.items()})


@pytest.mark.parametrize("name", TASKS)
def test_what_only_files_can_be_told_is_refused(name: str) -> None:
    plain = run_of(name, source=TASKS[name])
    assert len(open_source(plain.data, plain.task.fields).splits["train"])
    for path, value in FILES:
        run = run_of(name, source=TASKS[name], **{path: value})
        with pytest.raises(UserError, match=rf"^data\.{path}={value}: the embedded data set has "):
            open_source(run.data, run.task.fields)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"digits.longest": 12}, r"data\.digits\.longest=12: data\.source is scenes"),
        ({"source": "digits", "scenes.train": 9}, r"data\.scenes\.train=9: data\.source is digits"),
        ({"source": "digits", "image.resize": "pad"}, r"data\.image\.resize=pad: the embedded digits have no pictures"),
        ({"source": "digits", "image.cache": "disk"}, r"data\.image\.cache=disk: "),
        ({"source": "digits", "image.augment.flip": 0.5}, r"data\.image\.augment\.flip=0\.5: "),
    ],
)
def test_what_belongs_to_another_source_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_source(override(DataConfig(), changes), PAIRS)


@pytest.mark.parametrize("fields", [Fields(("label",)), Fields(("question", "answer"), ("question_type",))])
def test_a_language_of_what_is_not_read_is_refused(fields: Fields) -> None:
    german = override(DataConfig(), {"scenes.language": "de"})
    with pytest.raises(UserError, match=rf"data\.scenes\.language=de: this task reads {fields.required[0]}s"):
        open_source(german, fields)
    assert open_source(german, Fields(("caption",))).splits["train"].record(0).texts["caption"]
