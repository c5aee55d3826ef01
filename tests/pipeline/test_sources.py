"""Sources: what the user named, as inputs; each is found once, under a name that opens it."""

from __future__ import annotations

import glob
import itertools
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

from sightsound.pipeline import manifests as manifests_module
from sightsound.pipeline import sources as sources_module
from sightsound.pipeline.sources import (
    BATCH_ROWS,
    SourceError,
    absolute_uri,
    read_sources,
)
from sightsound.stages import storage

OPTIONS = "?region=here"


def read(*sources):
    return pa.Table.from_batches(list(read_sources([str(source) for source in sources])))


def uris(*sources):
    return read(*sources)["uri"].to_pylist()


def make(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")


def under(folder, *names):
    return [f"{folder}/{name}" for name in names]


@pytest.fixture
def store(monkeypatch, tmp_path):
    """A store whose bucket is a folder; URIs begin with store://bucket."""
    (tmp_path / "store" / "bucket").mkdir(parents=True)
    system = fs.SubTreeFileSystem(str(tmp_path / "store"), fs.LocalFileSystem())
    real = storage._file_system

    def file_system(root):
        if not root.startswith("store://"):
            return real(root)
        return system, root.removeprefix("store://").partition("?")[0]

    monkeypatch.setattr(storage, "_file_system", file_system)
    return tmp_path / "store" / "bucket"


# Files and folders


def test_relative_path_is_made_absolute(tmp_path, monkeypatch):
    make(tmp_path, "a.bin")
    monkeypatch.chdir(tmp_path)
    assert uris("./a.bin") == under(tmp_path, "a.bin")


def test_dots_that_go_through_a_link_are_kept(tmp_path):
    make(tmp_path, "far/a.mp4", "far/deep/b.mp4")
    (tmp_path / "near").mkdir()
    (tmp_path / "near/link").symlink_to(tmp_path / "far/deep")
    found = absolute_uri(f"{tmp_path}/near/link/../a.mp4")
    assert os.path.samefile(found, tmp_path / "far/a.mp4")


def test_missing_file_is_an_input(tmp_path):
    assert uris(tmp_path / "absent.mp4") == under(tmp_path, "absent.mp4")


def test_file_uri_is_its_path(tmp_path):
    make(tmp_path, "a b.mp4")
    assert uris(f"file://{tmp_path}/a%20b.mp4") == under(tmp_path, "a b.mp4")


def test_file_uri_with_a_host_is_refused():
    with pytest.raises(SourceError, match=r"file://host/a\.mp4 is no file URI"):
        read("file://host/a.mp4")


def test_empty_name_does_not_mean_the_current_folder():
    with pytest.raises(SourceError, match="empty name"):
        read("")


def test_folder_gives_media_files_of_any_case_files_first(tmp_path):
    make(tmp_path, "b.MP4", "a.wav", "a/z.mkv", "a/deep/y.mov", "notes.md", "mp4", "c.csv")
    assert uris(tmp_path) == under(tmp_path, "a.wav", "b.MP4", "a/z.mkv", "a/deep/y.mov")


def test_hidden_files_and_folders_are_left_out(tmp_path):
    make(tmp_path, ".a.mp4", ".trash/b.mp4", "c.mp4")
    assert uris(tmp_path) == under(tmp_path, "c.mp4")


def test_links_to_files_count_under_their_own_name_even_if_broken(tmp_path):
    make(tmp_path, "in/a.mp4", "out/b.mp4")
    (tmp_path / "in/b.mp4").symlink_to(tmp_path / "out/b.mp4")
    (tmp_path / "in/c.mp4").symlink_to(tmp_path / "absent.mp4")
    (tmp_path / "in/d.mp4").symlink_to("d.mp4")
    assert uris(tmp_path / "in") == under(tmp_path / "in", "a.mp4", "b.mp4", "c.mp4", "d.mp4")


def test_linked_folder_is_followed_once_and_yields_to_the_real_one(tmp_path):
    make(tmp_path, "in/real/a.mp4", "out/b.mp4")
    (tmp_path / "in/also").symlink_to("real")
    (tmp_path / "in/far").symlink_to("../out")
    (tmp_path / "in/real/up").symlink_to("..")
    assert uris(tmp_path / "in") == under(tmp_path / "in", "real/a.mp4", "far/b.mp4")


def test_pipe_is_no_input(tmp_path):
    make(tmp_path, "a.mp4")
    os.mkfifo(tmp_path / "b.mp4")
    assert uris(tmp_path) == under(tmp_path, "a.mp4")


def test_unreadable_folder_is_named_not_skipped(tmp_path, monkeypatch):
    make(tmp_path, "a.mp4", "locked/b.mp4")
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("locked"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match=r"locked cannot be listed \(Permission denied\)"):
        read(tmp_path)


def test_name_that_is_not_utf8_becomes_a_uri(tmp_path):
    with open(os.fsencode(tmp_path) + b"/\xff.mp4", "wb"):
        pass
    assert uris(tmp_path) == [f"file://{tmp_path}/%FF.mp4"]


def test_no_media_at_all_is_an_error(tmp_path):
    make(tmp_path, "notes.md")
    with pytest.raises(SourceError, match="No media files in"):
        read(tmp_path)


# Globs


def test_glob_takes_files_of_any_suffix_and_walks_folders(tmp_path):
    make(tmp_path, "b.bin", "a.mp4", "c/d.mp4", "c/notes.md", ".e.mp4")
    assert uris(tmp_path / "*") == under(tmp_path, "a.mp4", "b.bin", "c/d.mp4")


def test_relative_glob_starts_at_the_current_folder(tmp_path, monkeypatch):
    make(tmp_path, "a.mp4", "b.wav")
    monkeypatch.chdir(tmp_path)
    assert uris("*.mp4") == under(tmp_path, "a.mp4")


def test_deep_glob_takes_each_file_once_where_links_lead_back(tmp_path):
    make(tmp_path, "a/cam/b.mp4", "a/cam/notes.md")
    (tmp_path / "a/up").symlink_to("..")
    assert uris(tmp_path / "**/cam/*.mp4") == under(tmp_path, "a/cam/b.mp4")
    assert uris(tmp_path / "**") == under(tmp_path, "a/cam/b.mp4", "a/cam/notes.md")


def test_glob_that_matches_nothing_is_an_error(tmp_path):
    with pytest.raises(SourceError, match=r"x\*\.mp4 matches no files"):
        read(tmp_path / "x*.mp4")


def test_file_with_glob_characters_in_its_name_is_that_file(tmp_path):
    make(tmp_path, "a[1].mp4", "a1.mp4")
    assert uris(tmp_path / "a[1].mp4") == under(tmp_path, "a[1].mp4")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    names = ("a", "ab", ".a", "b")
    for first, second in itertools.product(names, names):
        make(folder, f"{first}1/{second}1/{first}.mp4", f"{first}1/{second}.mp4", f"{first}.mp4")
    return folder


@given(
    st.lists(st.sampled_from(("*", "**", "a*", "?1", "[!a]1", ".*", "b1")), max_size=3),
    st.sampled_from(("*.mp4", "[a].mp4", "[ab].mp4", "?*.*")),
)
def test_glob_finds_what_pythons_does(tree, folders, last):
    pattern = "/".join((str(tree), *folders, last))
    expected = {path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)}
    try:
        found = uris(pattern)
    except SourceError:
        found = []
    assert set(found) == expected


# Manifests


def test_csv_paths_start_at_its_folder_and_other_columns_pass(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text('\ufeffid,path,score,text\n007,a.mp4,1.5,"x\ny"\n,/b.mp4,2,NA\n')
    assert read(path).to_pylist() == [
        {"uri": f"{tmp_path}/a.mp4", "id": "007", "score": 1.5, "text": "x\ny"},
        {"uri": "/b.mp4", "id": None, "score": 2.0, "text": "NA"},
    ]


def test_tsv_is_cut_at_tabs(tmp_path):
    path = tmp_path / "m.tsv"
    path.write_text("path\tnote\na,b.mp4\tx\n")
    assert read(path).to_pylist() == [{"uri": f"{tmp_path}/a,b.mp4", "id": None, "note": "x"}]


def test_parquet_text_of_every_kind_becomes_plain_text(tmp_path):
    columns = {
        "path": pa.array(["a.mp4", "b.mp4"], pa.large_string()),
        "id": pa.array([1, None]),
        "kind": pa.array(["x", "x"]).dictionary_encode(),
        "when": pa.array([1, 2], pa.timestamp("ms")),
    }
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    found = read(tmp_path / "m.parquet")
    assert found["id"].to_pylist() == ["1", None]
    assert found.schema.field("kind").type == pa.string()
    assert found.schema.field("when").type == pa.timestamp("ms")


def test_text_skips_blank_lines_and_comments(tmp_path):
    path = tmp_path / "m.txt"
    path.write_bytes("\ufeffa.mp4\r\n\r\n# b\r\n ü c.mp4\n  \n../d.mp4".encode())
    assert uris(path) == [*under(tmp_path, "a.mp4", " ü c.mp4"), f"{tmp_path.parent}/d.mp4"]


def test_uri_goes_before_path_which_passes_through(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("path,uri\na,s3://b/c.mp4\n")
    assert read(path).to_pylist() == [{"uri": "s3://b/c.mp4", "id": None, "path": "a"}]


def test_column_that_is_empty_at_first_may_hold_text_later(tmp_path, monkeypatch):
    monkeypatch.setattr(manifests_module, "_CSV_BLOCK_BYTES", 64)
    path = tmp_path / "m.csv"
    path.write_text("path,note\n" + "a.mp4,\n" * 50 + "b.mp4,late\n")
    assert read(path)["note"].to_pylist()[-1] == "late"


def test_batches_are_bounded(tmp_path):
    path = tmp_path / "m.txt"
    path.write_text("a.mp4\n" * (2 * BATCH_ROWS + 1))
    sizes = [batch.num_rows for batch in read_sources([str(path)])]
    assert sum(sizes) == 2 * BATCH_ROWS + 1 and max(sizes) <= BATCH_ROWS


def test_files_named_one_by_one_share_a_batch():
    assert len(list(read_sources([f"/absent/{index}.mp4" for index in range(100)]))) == 1


def test_glob_of_manifests_reads_each(tmp_path):
    (tmp_path / "m1.txt").write_text("a.mp4\n")
    (tmp_path / "m2.txt").write_text("b.mp4\n")
    assert uris(tmp_path / "m*.txt") == under(tmp_path, "a.mp4", "b.mp4")


def test_folder_that_is_called_like_a_manifest_is_a_folder(tmp_path):
    make(tmp_path, "set.parquet/a.mp4")
    assert uris(tmp_path / "set.parquet") == under(tmp_path, "set.parquet/a.mp4")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "file\na.mp4\n", "m.csv has no column uri or path, only file"),
        ("m.csv", "path,status\na.mp4,x\n", "has a column status, which results use: rename"),
        ("m.csv", "path,size_bytes\na.mp4,1\n", "has a column size_bytes"),
        ("m.csv", "path,x,x\na.mp4,1,2\n", "has two columns x"),
        ("m.csv", "path,x\na.mp4,1\n ,2\n", "has no path in row 2"),
        ("m.csv", "path,x\na.mp4,1\nb.mp4\n", "Expected 2 columns, got 1"),
        ("m.csv", "", "Empty CSV file"),
        ("m.txt", "a.mp4\n\udcff.mp4\n", "invalid start byte"),
        ("m.parquet", "path\na.mp4\n", "cannot be read as a manifest"),
    ],
)
def test_wrong_manifest_is_refused_in_one_sentence(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SourceError) as caught:
        read(path)
    assert message in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_row_of_an_empty_path_is_counted_over_all_batches(tmp_path):
    rows = ["a.mp4"] * (BATCH_ROWS + 1) + [None]
    pq.write_table(pa.table({"path": rows}), tmp_path / "m.parquet")
    with pytest.raises(SourceError, match=f"in row {BATCH_ROWS + 2}, "):
        read(tmp_path / "m.parquet")


def test_missing_manifest_says_so(tmp_path):
    with pytest.raises(SourceError, match=r"m\.csv does not exist"):
        read(tmp_path / "m.csv")


@given(st.lists(st.sampled_from(("a", "..", ".", "", "b c", "é")), min_size=1, max_size=6))
def test_paths_of_a_manifest_are_those_of_its_folder(parts):
    path = "/".join(parts)
    found = manifests_module._absolute(pa.array([path]), "/no/such/folder/m.csv")
    assert found.to_pylist() == [absolute_uri(os.path.join("/no/such/folder", path))]


# Stores


def test_folder_on_a_store_gives_sizes_and_keeps_the_options(store):
    make(store, "in/a.mp4", "in/deep/b.mp4", "in/notes.md", "in/.c.mp4")
    found = read(f"store://bucket/in/{OPTIONS}")
    names = ("in/a.mp4", "in/deep/b.mp4")
    assert found["uri"].to_pylist() == [f"store://bucket/{name}{OPTIONS}" for name in names]
    assert found["size_bytes"].to_pylist() == [5, 5]
    assert found["modified_ns"].to_pylist() == [(store / name).stat().st_mtime_ns for name in names]


def test_whole_bucket_opens_file_by_file(store):
    make(store, "a%20b.mp4")
    (uri,) = uris("store://bucket")
    with storage.open_binary(uri) as file:
        assert file.read() == b"12345"


def test_missing_file_on_a_store_is_an_input_without_a_size(store):
    assert read("store://bucket/a.mp4").to_pylist() == [
        {"uri": "store://bucket/a.mp4", "id": None, "size_bytes": None, "modified_ns": None}
    ]


def test_glob_on_a_store_matches_as_on_disk(store):
    make(store, "x/a.mp4", "x/y/b.mp4", "x/y/c.wav", "z/d.mp4", "x/.e.mp4")
    on_disk = [uri.removeprefix(str(store)) for uri in uris(store / "x/**/*.mp4")]
    on_store = [
        uri.removeprefix("store://bucket").removesuffix(OPTIONS)
        for uri in uris(f"store://bucket/x/**/*.mp4{OPTIONS}")
    ]
    assert on_store == on_disk == ["/x/a.mp4", "/x/y/b.mp4"]


def test_manifest_on_a_store_names_files_beside_it(store):
    (store / "sets").mkdir()
    (store / "sets/m.txt").write_text("a.mp4\n../b.mp4\ns3://c/d.mp4?x=1\n/e.mp4\n")
    assert uris(f"store://bucket/sets/m.txt{OPTIONS}") == [
        f"store://bucket/sets/a.mp4{OPTIONS}",
        f"store://bucket/b.mp4{OPTIONS}",
        "s3://c/d.mp4?x=1",
        "/e.mp4",
    ]


def test_key_that_cannot_be_opened_is_not_skipped(monkeypatch):
    class Store:
        def get_file_info(self, what):
            if isinstance(what, fs.FileSelector):
                # What pyarrow gives for s3://bucket/a//b.mp4 when asked for s3://bucket/a.
                return [fs.FileInfo("bucket/a", fs.FileType.Directory)]
            return fs.FileInfo(what, fs.FileType.Directory)

    monkeypatch.setattr(sources_module, "locate", lambda uri: (Store(), uri.partition("://")[2]))
    with pytest.raises(SourceError, match=r"bucket/a cannot be listed \(it holds keys with //"):
        read("store://bucket/a")


def test_bucket_cannot_be_a_pattern(store):
    with pytest.raises(SourceError, match="leaves the bucket open"):
        read("store://buck*/a.mp4")


def test_unknown_scheme_is_refused():
    with pytest.raises(SourceError, match=r"nope://bucket/a\.mp4 cannot be looked up"):
        read("nope://bucket/a.mp4")


@pytest.mark.parametrize(("name", "is_input"), [("a.mp4", True), ("folder", False)])
def test_store_that_refuses_costs_a_file_its_row_and_a_folder_the_run(
    store, monkeypatch, name, is_input
):
    class Refusing:
        def get_file_info(self, path):
            raise OSError("AWS Error ACCESS_DENIED\nand more")

    monkeypatch.setattr(sources_module, "locate", lambda uri: (Refusing(), uri))
    if is_input:
        assert uris(f"store://bucket/{name}") == [f"store://bucket/{name}"]
    else:
        with pytest.raises(SourceError, match=r"folder cannot be looked up \(AWS.*DENIED\)"):
            read(f"store://bucket/{name}")
