"""Storage: the same bytes and the same errors wherever a file lies, and files that are whole."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

import pytest
from helpers.results import use_store
from hypothesis import given, settings
from hypothesis import strategies as st

from sightsound.stages import storage
from sightsound.stages.storage import (
    file_facts,
    is_remote,
    local_path,
    locate,
    open_binary,
    write_whole,
)


@pytest.fixture
def store(monkeypatch, tmp_path):
    use_store(monkeypatch, tmp_path / "store")
    return tmp_path / "store" / "bucket"


# Names


@pytest.mark.parametrize("name", ["s3://bucket/a.mp4", "gs://b/k", "S3://b/k", "a+b.c-1://b/k"])
def test_uris_of_stores_are_remote(name):
    assert is_remote(name)


@pytest.mark.parametrize(
    "name",
    ["/a.mp4", "a.mp4", "a:b.mp4", "/a://b", "./s3://b", "file:///a", "FILE:///a", "c:/a", ""],
)
def test_paths_and_file_uris_are_local(name):
    assert not is_remote(name)


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("/a%20b.mp4", "/a%20b.mp4"),
        ("a:b.mp4", "a:b.mp4"),
        ("file:///a%20b.mp4", "/a b.mp4"),
        ("file://localhost/a.mp4", "/a.mp4"),
        ("file:///n%C3%A4h.mp4", "/näh.mp4"),
        ("file:///a%FF.mp4", "/a\udcff.mp4"),
        ("file:///a?b#c.mp4", "/a?b#c.mp4"),
    ],
)
def test_local_path_is_what_the_system_opens(uri, path):
    assert local_path(uri) == path


def test_file_uri_of_another_host_is_refused():
    with pytest.raises(ValueError, match="names the host elsewhere"):
        local_path("file://elsewhere/a.mp4")


def test_escapes_in_the_key_of_a_store_are_part_of_it(store):
    (store / "a%20b.bin").write_bytes(b"escaped")
    (store / "a b.bin").write_bytes(b"blank")
    assert open_binary("store://bucket/a%20b.bin").read() == b"escaped"


def test_options_of_a_uri_are_no_part_of_the_key(store):
    assert locate("store://bucket/deep/a.bin?region=here")[1] == "bucket/deep/a.bin"


def test_bucket_alone_is_a_place(store):
    assert locate("store://bucket")[1] == "bucket"


def test_scheme_that_nobody_knows_is_a_value_error():
    with pytest.raises(ValueError, match="nosuch://bucket is no place that pyarrow can read"):
        locate("nosuch://bucket/a.mp4")


# Facts


@pytest.fixture(params=["local", "file uri", "store"])
def place(request, tmp_path, store):
    """A folder, and how files in it are named."""
    if request.param == "store":
        return store, "store://bucket"
    return tmp_path, str(tmp_path) if request.param == "local" else f"file://{tmp_path}"


def test_facts_are_size_and_time(place):
    folder, base = place
    (folder / "a.bin").write_bytes(b"12345")
    os.utime(folder / "a.bin", ns=(0, 1_600_000_000_123_456_789))
    facts = file_facts(f"{base}/a.bin")
    assert (facts.size_bytes, facts.modified_ns) == (5, 1_600_000_000_123_456_789)


def test_empty_file_has_no_bytes(place):
    (place[0] / "a.bin").touch()
    assert file_facts(f"{place[1]}/a.bin").size_bytes == 0
    assert open_binary(f"{place[1]}/a.bin").read() == b""


def test_file_that_is_not_there_is_said_to_be_so(place):
    with pytest.raises(FileNotFoundError):
        file_facts(f"{place[1]}/none.bin")
    with pytest.raises(FileNotFoundError):
        open_binary(f"{place[1]}/none.bin")


def test_folder_is_said_to_be_one(place):
    (place[0] / "deep").mkdir()
    with pytest.raises(IsADirectoryError):
        file_facts(f"{place[1]}/deep")


def test_name_that_is_not_utf_8_has_facts(tmp_path):
    path = f"{tmp_path}/a\udcff.mp4"
    Path(path).write_bytes(b"123")
    assert file_facts(path).size_bytes == 3


# Reading

DATA = bytes(range(251)) * 5
STEPS = st.lists(
    st.tuples(
        st.sampled_from((io.SEEK_SET, io.SEEK_CUR, io.SEEK_END)),
        st.integers(-1400, 1400),
        st.integers(0, 1400),
    ),
    max_size=12,
)


@pytest.fixture(scope="module")
def data_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        use_store(patch, folder)
        patch.setattr(storage, "_BLOCK_BYTES", 100)
        patch.setattr(storage, "_MOST_BLOCKS", 2)
        (folder / "bucket/a.bin").write_bytes(DATA)
        yield "store://bucket/a.bin"


@given(steps=STEPS)
def test_remote_file_reads_like_a_local_one_wherever_one_goes(data_file, steps):
    plain = io.BytesIO(DATA)
    with storage._RemoteFile(data_file) as remote:
        for whence, offset, length in steps:
            start = {io.SEEK_SET: 0, io.SEEK_CUR: plain.tell(), io.SEEK_END: len(DATA)}[whence]
            target = max(-start, offset)
            assert remote.seek(target, whence) == plain.seek(start + target)
            assert remote.read(length) == plain.read(length)
            assert remote.tell() == plain.tell()


@given(st.lists(st.integers(0, 1400), max_size=8))
@settings(max_examples=30)
def test_whole_remote_file_is_read_in_pieces_of_any_length(data_file, lengths):
    with open_binary(data_file) as remote:
        found = [remote.read(length) for length in lengths]
        assert b"".join([*found, remote.read()]) == DATA


def test_blocks_are_fetched_once_while_one_goes_back_and_forth(data_file, monkeypatch):
    fetched = []
    real = storage._RemoteFile._fetch

    def fetch(self, start, end):
        fetched.append((start, end))
        return real(self, start, end)

    monkeypatch.setattr(storage._RemoteFile, "_fetch", fetch)
    with storage._RemoteFile(data_file) as remote:
        for offset in (20, 320, 30, 350, 90, 310):
            remote.seek(offset)
            assert remote.read(5) == DATA[offset : offset + 5]
    assert fetched == [(0, 100), (300, 400)]


def test_closed_remote_file_is_closed_for_good(data_file):
    remote = open_binary(data_file)
    remote.close()
    remote.close()
    with pytest.raises(ValueError, match="closed"):
        remote.read()


# Writing


def test_written_file_is_what_was_written(tmp_path):
    write_whole(tmp_path / "a.bin", lambda path: path.write_bytes(b"new"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"new"


@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_writing_that_fails_leaves_the_earlier_file_and_no_trace(tmp_path, kind):
    (tmp_path / "a.bin").write_bytes(b"earlier")

    def write(path):
        path.write_bytes(b"half of")
        raise kind

    with pytest.raises(kind):
        write_whole(tmp_path / "a.bin", write)
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"earlier"


def test_file_is_not_there_until_it_is_whole():
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "a.bin")

        def write(temporary):
            temporary.write_bytes(b"half of")
            assert not path.exists()
            assert temporary.parent == path.parent, "a rename must not leave the disk"

        write_whole(path, write)
        assert path.exists()


def test_file_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(storage.os, "fsync", lambda _: steps.append("flush"))
    real = Path.replace

    def replace(self, target):
        steps.append("rename")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    write_whole(tmp_path / "a.bin", lambda path: path.write_bytes(b"new"))
    assert steps == ["flush", "rename", "flush"]


def test_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "a.bin", lambda path: path.write_bytes(b"new"))
