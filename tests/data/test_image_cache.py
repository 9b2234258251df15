from __future__ import annotations

import errno
import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from patchword.data import cache
from patchword.data.cache import DiskCache, MemoryCache, NoCache, PictureCache, cache_folder, open_cache

rng = np.random.default_rng(3)
SHAPES = [(3, 20, 30), (20, 30, 3), (1, 1, 3)]


def noise(*shape: int) -> np.ndarray:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def never() -> np.ndarray:
    raise AssertionError("made again")


@pytest.fixture(params=["memory", "disk"])
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> PictureCache:
    return MemoryCache() if request.param == "memory" else DiskCache(tmp_path)


@pytest.fixture
def disk(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path / "pictures")


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("shape", SHAPES)
def test_made_once_and_equal_ever_after(keeper: PictureCache, shape: tuple[int, ...]) -> None:
    pixels = noise(*shape)
    assert np.array_equal(keeper.fetch(("a", 1), b"file", lambda: pixels), pixels)
    for _ in range(2):
        again = keeper.fetch(("a", 1), b"file", never)
        assert again.dtype == np.uint8
        assert np.array_equal(again, pixels)


def test_facts_and_content_tell_entries_apart(keeper: PictureCache) -> None:
    array = noise(4, 6, 3)
    inputs = [
        (("a",), b"one"),
        (("b",), b"one"),
        (("a",), b"two"),
        (("a", 1), b"one"),
        (("a", "1"), b"one"),
        (("a",), array),
        (("a",), array.reshape(6, 4, 3)),
        (("a",), array.tobytes()),
    ]
    made = [noise(5, 5, 3) for _ in inputs]
    for (facts, content), pixels in zip(inputs, made):
        keeper.fetch(facts, content, lambda pixels=pixels: pixels)
    for (facts, content), pixels in zip(inputs, made):
        assert np.array_equal(keeper.fetch(facts, content, never), pixels)


def test_later_writes_do_not_reach_the_cache(keeper: PictureCache) -> None:
    pixels = noise(9, 9, 3)
    before = pixels.copy()
    keeper.fetch(("a",), b"", lambda: pixels)
    pixels[:] = 0
    assert np.array_equal(keeper.fetch(("a",), b"", never), before)


def test_memory_keeps_no_view(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper, large = MemoryCache(), noise(100, 100, 3)
    keeper.fetch(("a",), b"", lambda: large[:10])
    assert keeper.fetch(("a",), b"", never).base is None


def test_none_makes_every_time() -> None:
    made = [noise(3, 3, 3) for _ in range(2)]
    keeper = NoCache()
    for pixels in made:
        assert keeper.fetch(("a",), b"", lambda pixels=pixels: pixels) is pixels


def test_memory_is_not_sent_to_spawned_workers() -> None:
    keeper = MemoryCache()
    keeper.fetch(("a",), b"", lambda: noise(9, 9, 3))
    assert len(keeper) == 1
    assert len(pickle.loads(pickle.dumps(keeper))) == 0


def test_disk_is_shared(disk: DiskCache) -> None:
    pixels = noise(9, 8, 3)
    disk.fetch(("a",), b"", lambda: pixels)
    for other in (DiskCache(disk.folder), pickle.loads(pickle.dumps(disk))):
        assert np.array_equal(other.fetch(("a",), b"", never), pixels)


def damage(data: bytes, how: str) -> bytes:
    at = len(data) // 2
    return {
        "empty": b"",
        "short": data[:-1],
        "long": data + b"\0",
        "header only": data[:20],
        "half a header": data[:7],
        "one bit": data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :],
        "other shape": data[:8] + data[12:16] + data[8:12] + data[16:],
        "other format": b"pwp0" + data[4:],
        "zeros": bytes(len(data)),
        "text": b"no space left on device",
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        "empty",
        "short",
        "long",
        "header only",
        "half a header",
        "one bit",
        "other shape",
        "other format",
        "zeros",
        "text",
    ],
)
def test_damaged_entries_are_made_anew(disk: DiskCache, how: str) -> None:
    pixels = noise(9, 8, 3)
    disk.fetch(("a",), b"", lambda: pixels)
    (path,) = files(disk.folder)
    path.write_bytes(damage(path.read_bytes(), how))
    made = []
    assert np.array_equal(disk.fetch(("a",), b"", lambda: made.append(1) or pixels), pixels)
    assert made
    assert np.array_equal(disk.fetch(("a",), b"", never), pixels)


def test_unreadable_entry_is_made_anew(disk: DiskCache) -> None:
    pixels = noise(9, 8, 3)
    disk.fetch(("a",), b"", lambda: pixels)
    (path,) = files(disk.folder)
    path.unlink()
    path.mkdir()
    assert np.array_equal(disk.fetch(("a",), b"", lambda: pixels), pixels)


def test_full_disk_only_turns_writing_off(
    disk: DiskCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept, pixels = noise(4, 4, 3), noise(9, 8, 3)
    disk.fetch(("kept",), b"", lambda: kept)

    def full(source: str, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache.os, "replace", full)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            assert np.array_equal(disk.fetch(("a",), b"", lambda: pixels), pixels)
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text
    assert str(disk.folder) in caplog.text
    assert len(files(disk.folder)) == 1  # nothing half-written is left
    assert np.array_equal(disk.fetch(("kept",), b"", never), kept)


def test_folder_that_cannot_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    keeper, pixels = DiskCache(tmp_path / "file"), noise(9, 8, 3)
    for _ in range(3):
        assert np.array_equal(keeper.fetch(("a",), b"", lambda: pixels), pixels)
    assert len(caplog.records) == 1


def test_interrupted_write_leaves_nothing(disk: DiskCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(source: str, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cache.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        disk.fetch(("a",), b"", lambda: noise(3, 3, 3))
    assert files(disk.folder) == []


def test_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere/patchword/pictures"
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_CACHE_HOME", ignored)
        assert cache_folder() == tmp_path / ".cache/patchword/pictures"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache/patchword/pictures"


def test_kinds() -> None:
    assert [type(open_cache(kind)) for kind in ("none", "memory", "disk")] == [NoCache, MemoryCache, DiskCache]
