"""Output: files that are whole or absent, and a place that one run has at a time."""

from __future__ import annotations

import pyarrow as pa
import pytest
from helpers.results import files, use_store

from sightsound.pipeline.output import Output, OutputError

TABLE = pa.table({"uri": ["/a", "/b", None], "n": [1, 2, 3]})


@pytest.fixture(params=["local", "store"])
def output(request, tmp_path, monkeypatch):
    if request.param == "local":
        return Output(str(tmp_path / "out"))
    use_store(monkeypatch, tmp_path / "store")
    for name in ("videos", "ledger/slices"):
        (tmp_path / "store/bucket/out" / name).mkdir(parents=True)
    return Output("store://bucket/out/")


def test_file_comes_back_as_it_was_written_last(output):
    output.write("videos/a.bin", b"an earlier and longer one")
    output.write("videos/a.bin", b"\0later")
    assert output.read("videos/a.bin") == b"\0later"


def test_table_comes_back_with_its_schema(output):
    output.write_table("videos/a.parquet", TABLE)
    assert output.read_table("videos/a.parquet").equals(TABLE)
    assert output.schema("videos/a.parquet").equals(TABLE.schema)


def test_only_the_columns_asked_for_are_read(output):
    output.write_table("videos/a.parquet", TABLE)
    assert output.read_table("videos/a.parquet", columns=["n"]).equals(TABLE.select(["n"]))


def test_names_are_sorted_and_reach_into_folders_below(output):
    for name in ("ledger/slices/b.npz", "ledger/2.parquet", "ledger/10.parquet"):
        output.write(name, b"x")
    assert output.names("ledger") == ["10.parquet", "2.parquet", "slices/b.npz"]
    assert output.names("ledger", suffix=".parquet") == ["10.parquet", "2.parquet"]
    assert output.names("") == ["ledger/10.parquet", "ledger/2.parquet", "ledger/slices/b.npz"]


def test_folder_that_is_not_there_has_no_names(output):
    assert output.names("segments") == []


def test_file_that_is_not_there_cannot_be_read(output):
    with pytest.raises(FileNotFoundError):
        output.read("videos/none.bin")


def test_folder_is_no_file(output):
    output.write("videos/a.bin", b"x")
    assert output.exists("videos/a.bin")
    assert not output.exists("videos")


def test_deleting_takes_one_file_and_minds_no_missing_one(output):
    for name in ("videos/a.bin", "videos/b.bin"):
        output.write(name, b"x")
    output.delete("videos/a.bin")
    output.delete("videos/a.bin")
    assert output.names("videos") == ["b.bin"]


def test_deleting_a_folder_takes_all_in_it_and_minds_no_missing_one(output):
    output.write("ledger/slices/a.npz", b"x")
    output.write("ledger/1.parquet", b"x")
    output.delete_folder("ledger/slices")
    output.delete_folder("ledger/slices")
    assert output.names("") == ["ledger/1.parquet"]


def test_write_that_fails_leaves_neither_file_nor_trace(tmp_path):
    output = Output(str(tmp_path))
    (tmp_path / "videos/a.parquet/in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=r"a\.parquet"):
        output.write_table("videos/a.parquet", TABLE)
    assert files(tmp_path) == []


def test_only_temporary_files_of_writers_are_removed(tmp_path):
    output = Output(str(tmp_path))
    kept = ["a.tmp", "videos/.hidden", "videos/1.parquet"]
    for name in (*kept, "videos/.1.parquet.tmp", "ledger/slices/x/.0-5.npz.tmp", ".run.json.tmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert output.remove_temporary_files() == 3
    assert files(tmp_path) == kept


def test_second_run_on_one_output_is_refused_while_the_first_has_it(tmp_path):
    unlock = Output(str(tmp_path)).lock()
    with pytest.raises(OutputError, match=f"Another run is writing to {tmp_path}"):
        Output(str(tmp_path)).lock()
    unlock()
    Output(str(tmp_path)).lock()()


def test_refused_run_does_not_free_the_output(tmp_path):
    unlock = Output(str(tmp_path)).lock()
    for _ in range(2):
        with pytest.raises(OutputError):
            Output(str(tmp_path)).lock()
    unlock()


def test_runs_on_two_outputs_do_not_meet(tmp_path):
    unlock = [Output(str(tmp_path / name)).lock() for name in ("a", "b")]
    for give_back in unlock:
        give_back()


def test_file_in_the_place_of_the_folder_is_an_output_error(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="taken cannot be used for results"):
        Output(str(tmp_path / "taken"))


def test_store_that_nobody_knows_is_an_output_error():
    with pytest.raises(OutputError, match="nosuch://bucket/out cannot be used for results"):
        Output("nosuch://bucket/out")


def test_relative_folder_stays_where_it_was_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = Output("out")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    output.write("a", b"x")
    assert files(tmp_path) == ["out/a"]


def test_file_uri_is_a_local_folder(tmp_path):
    output = Output(f"file://{tmp_path}/my%20out")
    output.write("a", b"x")
    assert output.is_local
    assert files(tmp_path) == ["my out/a"]
