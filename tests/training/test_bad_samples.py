from __future__ import annotations

import pytest
from toys import ToyTask, read_lines, toy_run, toy_train

from patchword.config import BadSamplesConfig, UserError
from patchword.data.batch import BadSample, Batch
from patchword.training.bad_samples import BadSamples


def batch(good: int, *bad: str) -> Batch:
    return Batch({}, {}, tuple(map(str, range(good))), tuple(BadSample(b, "truncated", "too short") for b in bad))


def make(**config) -> tuple[BadSamples, list[BadSample]]:
    reported: list[BadSample] = []
    return BadSamples(BadSamplesConfig(**config), reported.append), reported


def test_each_is_counted_and_named_once() -> None:
    bad, reported = make(max_share=1.0)
    for _ in range(3):
        bad.look(batch(5, "a.jpg", "b.jpg"), epoch_over=False)
    assert (bad.read, bad.count) == (21, 6)
    assert [sample.id for sample in reported] == ["a.jpg", "b.jpg"]


def test_a_share_means_nothing_among_the_first_few() -> None:
    bad, _ = make(max_share=0.02)
    bad.look(batch(9, "a.jpg"), epoch_over=False)
    bad.look(batch(88), epoch_over=False)
    bad.look(batch(1, "b.jpg"), epoch_over=False)  # 2 of 100
    with pytest.raises(UserError, match=r"3 of the 101 .*max_share = 0.02 .*c.jpg: truncated: too short"):
        bad.look(batch(0, "c.jpg"), epoch_over=False)


def test_a_small_data_set_is_judged_at_the_end_of_its_epoch() -> None:
    bad, _ = make(max_share=0.1)
    bad.look(batch(3, "a.jpg"), epoch_over=False)
    with pytest.raises(UserError, match="2 of the 8 samples"):
        bad.look(batch(3, "b.jpg"), epoch_over=True)


def test_an_epoch_of_nothing_stops_whatever_is_allowed() -> None:
    bad, _ = make(max_share=1.0)
    bad.look(batch(0, "a.jpg"), epoch_over=False)
    with pytest.raises(UserError, match="2 of the 2"):
        bad.look(batch(0, "b.jpg"), epoch_over=True)


def test_fatal_names_the_first() -> None:
    bad, reported = make(policy="fatal")
    bad.look(batch(5), epoch_over=True)
    with pytest.raises(UserError, match=r"a\.jpg: truncated: too short \(data\.bad_samples\.policy is fatal\)"):
        bad.look(batch(99, "a.jpg", "b.jpg"), epoch_over=False)
    assert [sample.id for sample in reported] == ["a.jpg"]


def test_the_count_goes_to_a_checkpoint_and_back() -> None:
    bad, _ = make(max_share=1.0)
    bad.look(batch(5, "a.jpg"), epoch_over=False)
    reported: list[BadSample] = []
    again = BadSamples(BadSamplesConfig(max_share=1.0), reported.append, bad.state())
    again.look(batch(5, "a.jpg"), epoch_over=False)
    assert (again.read, again.count, reported) == (12, 2, [])


@pytest.mark.parametrize("workers", [0, 1])
def test_training_goes_on_without_them(tmp_path, workers: int) -> None:
    run = toy_run(data__bad_samples__max_share=0.2, train__steps=25, data__workers=workers)
    task = ToyTask(run, bad=frozenset({3, 11, 30}))
    toy_train(run, tmp_path / "run", task=task)
    seen = [name for names in task.seen for name in names]
    assert not [name for name in seen if name.split("@")[0] in {"train/3.jpg", "train/11", "train/30"}]
    lines = read_lines(tmp_path / "run", "bad")
    assert sorted(line["id"] for line in lines) == ["train/11.jpg", "train/3.jpg", "train/30.jpg"]
    assert {line["reason"] for line in lines} == {"truncated"}


@pytest.mark.parametrize("config", [{"policy": "fatal"}, {"max_share": 0.01}])
def test_training_stops(tmp_path, config: dict) -> None:
    run = toy_run(**{f"data__bad_samples__{key}": value for key, value in config.items()}, train__steps=99)
    with pytest.raises(UserError, match=r"train/\d+.jpg: truncated: ends after 12 bytes"):
        toy_train(run, tmp_path / "run", task=ToyTask(run, bad=frozenset(range(0, 37, 4))))


def test_nothing_can_be_read(tmp_path) -> None:
    run = toy_run(data__bad_samples__max_share=1.0)
    with pytest.raises(UserError, match="37 of the 37"):
        toy_train(run, tmp_path / "run", task=ToyTask(run, bad=frozenset(range(37))))
