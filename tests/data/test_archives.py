"""Folders, tars and zips: the same names and bytes from each, in any process, and nothing from outside."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import random
import stat
import struct
import tarfile
import threading
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from patchword.config import UserError
from patchword.data import packed
from patchword.data.archives import Archive, Folder, open_archive
from patchword.data.decode import BadImage
from patchword.data.packed import Tar, Zip

CHOICE = random.Random(11)
Files = dict[str, bytes]


def random_files() -> Files:
    names = ["a.jpg", "b/a.jpg", "b/c d/ä 猫.png", "z" * 200 + ".jpg", "b/table.csv", "empty.jpg"]
    files = {name: CHOICE.randbytes(CHOICE.randrange(1, 3000)) for name in names}
    files["flat.jpg"] = bytes(5000)  # deflates well
    return files | {"empty.jpg": b""}


def write_folder(path: Path, files: Files) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def write_tar(path: Path, files: Files, form: int = tarfile.PAX_FORMAT, start: str = "") -> Path:
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(start + name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_zip(path: Path, files: Files, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.mkdir("b")
        for name, data in files.items():
            archive.writestr(name, data)
    return path


WRITERS: dict[str, Callable[[Path, Files], Path]] = {
    "folder": lambda path, files: write_folder(path / "folder", files),
    "tar": lambda path, files: write_tar(path / "x.tar", files),
    "gnu tar": lambda path, files: write_tar(path / "x.tar", files, tarfile.GNU_FORMAT),
    "dotted tar": lambda path, files: write_tar(path / "x.tar", files, start="./"),
    "zip": lambda path, files: write_zip(path / "x.zip", files),
    "stored zip": lambda path, files: write_zip(path / "x.zip", files, zipfile.ZIP_STORED),
    "misnamed zip": lambda path, files: write_zip(path / "x.tar", files),
}
each_kind = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


def contents(archive: Archive) -> Files:
    return {name: archive.read(name) for name in archive.names}


def refusal(archive: Archive, name: str) -> BadImage:
    with pytest.raises(BadImage) as caught:
        archive.read(name)
    return caught.value


@each_kind
def test_every_kind_has_the_same_names_and_bytes(write: Callable[[Path, Files], Path], tmp_path: Path):
    files = random_files()
    archive = open_archive(write(tmp_path, files))
    assert contents(archive) == files
    assert list(archive.names) == sorted(files)
    assert all(map(archive.has, files))
    assert archive.beside("b/anything") == ["b/a.jpg", "b/table.csv"]
    assert archive.beside("nowhere/a.jpg") == []


@each_kind
def test_hidden_files_are_not_listed(write: Callable[[Path, Files], Path], tmp_path: Path):
    shown = {"a.jpg": b"1", "b/a.b": b"2"}
    others = {".DS_Store": b"3", "__MACOSX/._a.jpg": b"4", ".git/a.jpg": b"5", "b/.hidden/c.jpg": b"6"}
    assert list(open_archive(write(tmp_path, shown | others)).names) == sorted(shown)


@each_kind
def test_what_is_not_there_is_a_bad_image(write: Callable[[Path, Files], Path], tmp_path: Path):
    archive = open_archive(write(tmp_path, {"a.jpg": b"1", "b/c.jpg": b"2"}))
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    hostile = ["", ".", "b", "c.jpg", "a.jpg/c", "a\0.jpg", "x" * 5000, "../secret.jpg", "b/../../secret.jpg"]
    for name in [*hostile, str(tmp_path / "secret.jpg"), "../" * 40 + "etc/passwd", "/etc/passwd"]:
        assert refusal(archive, name).reason == "missing", name
        assert not archive.has(name)


@each_kind
def test_pickled_and_unopened(write: Callable[[Path, Files], Path], tmp_path: Path):
    files = random_files()
    archive = open_archive(write(tmp_path, files))
    before = pickle.loads(pickle.dumps(archive))
    assert contents(archive) == files
    opened = {os.readlink(f"/proc/self/fd/{fd}") for fd in _open_files()}
    copy = pickle.loads(pickle.dumps(archive))
    assert {os.readlink(f"/proc/self/fd/{fd}") for fd in _open_files()} == opened
    assert contents(before) == contents(copy) == files
    last = pickle.loads(pickle.dumps(archive))
    del archive  # closes its file, which is none of the copy's business
    assert contents(last) == files


def test_files_are_closed_with_their_archive(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", {"a.jpg": b"1"})
    before = _open_files()
    for _ in range(3):
        open_archive(path).read("a.jpg")
    assert _open_files() == before


def _open_files() -> set[str]:
    return {fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")}


def _read_often(archive: Archive, files: Files, order: list[str], said) -> None:
    said.put(all(archive.read(name) == files[name] for name in order * 20))


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@each_kind
def test_forked_processes_do_not_disturb_each_other(write: Callable[[Path, Files], Path], tmp_path: Path):
    files = random_files()
    archive = open_archive(write(tmp_path, files))
    assert contents(archive) == files  # so that the file is open before the fork
    fork = multiprocessing.get_context("fork")
    said = fork.SimpleQueue()
    workers = []
    for _ in range(3):
        order = CHOICE.sample(sorted(files), len(files))
        workers.append(fork.Process(target=_read_often, args=(archive, files, order, said)))
    for worker in workers:
        worker.start()
    assert all(archive.read(name) == data for _ in range(20) for name, data in files.items())
    assert [said.get() for _ in workers] == [True, True, True]
    for worker in workers:
        worker.join()


@each_kind
def test_threads_share_an_archive(write: Callable[[Path, Files], Path], tmp_path: Path):
    files = random_files()
    archive = open_archive(write(tmp_path, files))
    wrong: list[str] = []

    def work() -> None:
        for name in CHOICE.choices(sorted(files), k=200):
            wrong.extend([name] if archive.read(name) != files[name] else [])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# ------------------------------------------------------------------ links and other files that are not files


def test_links_are_followed_only_inside(tmp_path: Path):
    root = write_folder(tmp_path / "root", {"in/a.jpg": b"inside"})
    outside = write_folder(tmp_path / "root-beside", {"b.jpg": b"outside"})
    (root / "near.jpg").symlink_to("in/a.jpg")
    (root / "far.jpg").symlink_to(outside / "b.jpg")
    (root / "up.jpg").symlink_to("../root-beside/b.jpg")
    (root / "hop.jpg").symlink_to("far.jpg")
    (root / "all").symlink_to(outside)
    (root / "loop").symlink_to(root)
    (root / "loop.jpg").symlink_to("loop.jpg")
    (root / "broken.jpg").symlink_to("nowhere.jpg")
    archive = open_archive(root)
    assert contents(archive) == {"in/a.jpg": b"inside", "near.jpg": b"inside"}
    for name in ("far.jpg", "up.jpg", "hop.jpg", "all/b.jpg"):
        assert "leads out of" in refusal(archive, name).message
        assert refusal(archive, name).reason == "missing"
    for name in ("loop.jpg", "broken.jpg"):
        assert refusal(archive, name).reason == "missing"


def test_a_folder_that_is_a_link_is_itself(tmp_path: Path):
    root = write_folder(tmp_path / "root", {"a.jpg": b"1"})
    (tmp_path / "link").symlink_to(root)
    archive = open_archive(tmp_path / "link")
    assert contents(archive) == {"a.jpg": b"1"}
    assert archive.read(str(root / "a.jpg")) == b"1"


def test_a_pipe_does_not_block(tmp_path: Path):
    os.mkfifo(tmp_path / "a.jpg")
    archive = open_archive(tmp_path)
    assert list(archive.names) == []
    assert refusal(archive, "a.jpg").reason == "missing"


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_folder(tmp_path, {"a.jpg": b"1"})

    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)  # the tests may run as root, who may read everything
    assert refusal(Folder(tmp_path), "a.jpg").reason == "unreadable"


@each_kind
def test_huge_files_are_refused_unread(
    write: Callable[[Path, Files], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    archive = open_archive(write(tmp_path, {"a.jpg": bytes(1001), "b.jpg": bytes(1000)}))
    monkeypatch.setattr(packed, "MAX_BYTES", 1000)
    assert refusal(archive, "a.jpg").reason == "unreadable"
    assert archive.read("b.jpg") == bytes(1000)


def test_tar_links(tmp_path: Path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind, target in (
            ("a.jpg", tarfile.REGTYPE, ""),
            ("hard.jpg", tarfile.LNKTYPE, "a.jpg"),
            ("soft.jpg", tarfile.SYMTYPE, "a.jpg"),
            ("out.jpg", tarfile.SYMTYPE, "/etc/passwd"),
            ("device.jpg", tarfile.CHRTYPE, ""),
            ("../../out.jpg", tarfile.REGTYPE, ""),
            ("/root.jpg", tarfile.REGTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, 5 if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"bytes"))
    # names that lead out are only names: the bytes are the archive's own
    assert set(contents(Tar(tmp_path / "x.tar"))) == {"a.jpg", "hard.jpg", "../../out.jpg", "/root.jpg"}
    assert set(contents(Tar(tmp_path / "x.tar")).values()) == {b"bytes"}


def test_the_last_member_of_a_name_counts(tmp_path: Path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for data in (b"old", b"newer"):
            info = tarfile.TarInfo("a.jpg")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert contents(Tar(tmp_path / "x.tar")) == {"a.jpg": b"newer"}


def test_zip_links_are_no_files(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a.jpg", b"1")
    assert contents(Zip(tmp_path / "x.zip")) == {"a.jpg": b"1"}


# ------------------------------------------------------------------ damage


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_tars_are_refused(mode: str, tmp_path: Path):
    tarfile.open(tmp_path / "x.tar", mode).close()
    with pytest.raises(UserError, match="-compressed, so its files cannot be read in any order"):
        open_archive(tmp_path / "x.tar")


@pytest.mark.parametrize("data", [b"", b"text\n" * 500, bytes(10), CHOICE.randbytes(5000)])
def test_what_is_no_archive_is_refused(data: bytes, tmp_path: Path):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UserError, match="not a tar or zip"):
        open_archive(tmp_path / "x")


def test_a_cut_tar_is_refused_wherever_it_is_cut(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", {f"{i}.jpg": CHOICE.randbytes(900) for i in range(4)})
    whole = path.read_bytes()[: 4 * 1536]  # without the blocks of zeros at the end
    path.write_bytes(whole)
    assert len(Tar(path).names) == 4
    for cut in [*range(100, len(whole), 211), len(whole) - 200]:
        if cut % 1536 == 0:
            continue  # a tar with fewer members
        path.write_bytes(whole[:cut])
        with pytest.raises(UserError, match=r"x\.tar"):
            Tar(path)


def test_a_damaged_header_does_not_hide_the_rest(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", {f"{i}.jpg": CHOICE.randbytes(900) for i in range(4)})
    data = bytearray(path.read_bytes())
    data[2 * 1536 + 3] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged or cut short after 2 files, at byte 3072"):
        Tar(path)


def test_a_cut_zip_is_refused(tmp_path: Path):
    path = write_zip(tmp_path / "x.zip", random_files())
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match="damaged zip, or cut short"):
        open_archive(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_a_damaged_zip_member_is_a_bad_image(method: int, tmp_path: Path):
    path = write_zip(tmp_path / "x.zip", {"a.jpg": CHOICE.randbytes(500), "b.jpg": CHOICE.randbytes(500)}, method)
    data = bytearray(path.read_bytes())
    data[data.index(b"a.jpg") + 100] ^= 0x55
    path.write_bytes(data)
    archive = Zip(path)
    assert refusal(archive, "a.jpg").reason == "unreadable"
    assert len(archive.read("b.jpg")) == 500


def test_a_zip_that_lies_about_a_size_is_not_unpacked(tmp_path: Path):
    path = write_zip(tmp_path / "x.zip", {"a.jpg": bytes(10_000_000)})
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")  # the directory says 10 bytes; it is what decides how much is unpacked
    struct.pack_into("<I", data, entry + 24, 10)
    path.write_bytes(data)
    archive = Zip(path)
    tracemalloc.start()
    assert refusal(archive, "a.jpg").reason == "unreadable"
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_zips_that_need_more_are_refused(tmp_path: Path):
    path = write_zip(tmp_path / "x.zip", {"a.jpg": b"1"}, zipfile.ZIP_LZMA)
    with pytest.raises(UserError, match=r"a\.jpg is packed by method 14"):
        Zip(path)
    path = write_zip(tmp_path / "y.zip", {"a.jpg": b"1"})
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.jpg is encrypted"):
        Zip(path)


def test_an_archive_that_shrinks_after_it_was_opened(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", {"a.jpg": CHOICE.randbytes(5000)})
    archive = Tar(path)
    os.truncate(path, 2000)
    assert refusal(archive, "a.jpg").reason == "truncated"
    path.unlink()
    assert refusal(Tar(write_tar(path, {"a.jpg": b"1"})), "b.jpg").reason == "missing"


def test_an_archive_that_vanishes_after_it_was_opened(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", {"a.jpg": b"1"})
    archive = Tar(path)
    path.unlink()
    assert refusal(archive, "a.jpg").reason == "unreadable"
