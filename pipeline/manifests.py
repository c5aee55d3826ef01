"""Manifests: CSV, Parquet or text files that list inputs -> record batches, as a stream."""

from __future__ import annotations

import itertools
import os
import posixpath
from collections.abc import Iterator
from io import TextIOWrapper

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from sightsound.stages.storage import is_remote, local_path, locate
from sightsound.stages.tables import VIDEOS_SCHEMA

BATCH_ROWS = 8192
MANIFEST_SUFFIXES = frozenset((".csv", ".tsv", ".parquet", ".txt"))
# What a result table or a listing calls its own columns; a manifest cannot bring such.
RESERVED_COLUMNS = frozenset((*VIDEOS_SCHEMA.names, "position", "size_bytes", "modified_ns")) - {
    "uri",
    "path",
    "id",
}

# The types of a CSV's columns come from its first block.
_CSV_BLOCK_BYTES = 4 << 20
_URI = r"^[A-Za-z][A-Za-z0-9+.-]+://"
_UNTIDY = r"(?:^|[^:])//|/\.{1,2}(?:/|$)|/$"


class SourceError(Exception):
    """What the user named cannot be turned into inputs. The message is one sentence."""


def read_manifest(uri: str) -> Iterator[pa.RecordBatch]:
    """The inputs that a manifest lists: ``uri``, ``id`` and its other columns.

    Relative paths are relative to the manifest's folder.

    Raises:
        SourceError: it cannot be read, or lacks a path in a row.
    """
    suffix = suffix_of(uri.partition("?")[0] if is_remote(uri) else uri)
    read = {".parquet": _read_parquet, ".txt": _read_lines}.get(suffix, _read_csv)
    n_before = 0
    try:
        for raw in read(uri):
            for start in range(0, raw.num_rows, BATCH_ROWS):
                batch = raw.slice(start, BATCH_ROWS)
                yield _inputs(uri, batch, n_before=n_before)
                n_before += batch.num_rows
    except FileNotFoundError as error:
        raise SourceError(f"{uri} does not exist: check the name of the manifest.") from error
    except (OSError, ValueError, pa.ArrowException) as error:
        typed = ", or write it as Parquet, whose columns have types" * (read is _read_csv)
        raise SourceError(
            f"{uri} cannot be read as a manifest ({reason_of(error)}): mend it{typed}."
        ) from error


def _read_parquet(uri: str) -> Iterator[pa.RecordBatch]:
    system, path = locate(uri)
    with system.open_input_file(path) as file:
        yield from parquet.ParquetFile(file).iter_batches(batch_size=BATCH_ROWS)


def _read_lines(uri: str) -> Iterator[pa.RecordBatch]:
    system, path = locate(uri)
    with (
        system.open_input_stream(path) as stream,
        TextIOWrapper(stream, encoding="utf-8-sig", newline="\n") as lines,
    ):
        while some := list(itertools.islice(lines, BATCH_ROWS)):
            names = pc.utf8_rtrim(pa.array(some), "\r\n")
            blank = pc.equal(pc.utf8_trim_whitespace(names), "")
            kept = names.filter(pc.invert(pc.or_(blank, pc.starts_with(names, "#"))))
            yield pa.record_batch({"uri": kept})


def _read_csv(uri: str) -> Iterator[pa.RecordBatch]:
    types = dict.fromkeys(("uri", "path", "id"), pa.string())
    with _open_csv(uri, types) as reader:
        # A column that is empty in the first block may hold anything later on.
        empty = [field.name for field in reader.schema if pa.types.is_null(field.type)]
        if not empty:
            yield from reader
            return
    with _open_csv(uri, types | dict.fromkeys(empty, pa.string())) as reader:
        yield from reader


def _open_csv(uri: str, types: dict[str, pa.DataType]) -> csv.CSVStreamingReader:
    system, path = locate(uri)
    delimiter = "\t" if suffix_of(uri.partition("?")[0]) == ".tsv" else ","
    return csv.open_csv(
        system.open_input_stream(path),
        read_options=csv.ReadOptions(block_size=_CSV_BLOCK_BYTES),
        parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=types),
    )


def _inputs(manifest: str, raw: pa.RecordBatch, *, n_before: int) -> pa.RecordBatch:
    """Rows of a manifest as inputs: ``uri``, ``id`` and what else it has."""
    names = raw.schema.names
    location = next((name for name in ("uri", "path") if name in names), None)
    if location is None:
        raise SourceError(
            f"{manifest} has no column uri or path, only {', '.join(names)}: rename the column "
            "that says where the files are."
        )
    for name in names:
        if name in RESERVED_COLUMNS:
            raise SourceError(f"{manifest} has a column {name}, which results use: rename it.")
        if names.count(name) > 1:
            raise SourceError(f"{manifest} has two columns {name}: rename one of them.")
    uris = raw[location].cast(pa.string())
    empty = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(uris), ""), True)
    row = pc.index(empty, True).as_py()
    if row >= 0:
        raise SourceError(
            f"{manifest} has no {location} in row {n_before + row + 1}, counted without a header: "
            "fill it in or remove the row."
        )
    ids = raw["id"].cast(pa.string()) if "id" in names else pa.nulls(raw.num_rows, pa.string())
    columns = {
        "uri": _absolute(uris, manifest),
        "id": pc.if_else(pc.equal(ids, ""), None, ids),
    }
    for name in names:
        if name not in (location, "id"):
            columns[name] = _plain(raw[name])
    return pa.record_batch(columns)


def _plain(values: pa.Array) -> pa.Array:
    """Values without the ways in which writers differ, so that manifests go together."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type):
        values = values.cast(pa.string())
    return values


def _absolute(uris: pa.Array, manifest: str) -> pa.Array:
    """Relative paths from the folder of the manifest; all at once, for the sake of speed."""
    named = pc.match_substring_regex(uris, _URI)
    whole = pc.or_(named, pc.starts_with(uris, "/"))
    name, options = manifest, ""
    if is_remote(manifest):
        name, question, options = manifest.partition("?")
        options = question + options
    inner = pc.replace_substring_regex(uris, r"^(?:\./+)+", "")
    base = name.rpartition("/")[0] + "/"
    uris = pc.if_else(whole, uris, pc.binary_join_element_wise(base, inner, options, ""))
    untidy = pc.or_(
        pc.and_(pc.invert(named), pc.match_substring_regex(uris, _UNTIDY)),
        pc.starts_with(uris, "file://"),
    )
    if not pc.any(untidy).as_py():
        return uris
    tidied = [_tidy(text) for text in uris.filter(untidy).to_pylist()]
    return pc.replace_with_mask(uris, untidy, pa.array(tidied, pa.string()))


def _tidy(uri: str) -> str:
    """One URI or absolute path without ``.``, ``//`` and, where it means the same, ``..``."""
    if is_remote(uri):
        scheme, _, rest = uri.partition("://")
        name, question, options = rest.partition("?")
        return f"{scheme}://{posixpath.normpath(name)}{question}{options}"
    try:
        return absolute_uri(local_path(uri))
    except ValueError:  # No file URI: the row of the input will say so.
        return uri


def absolute_uri(item: str) -> str:
    """A path made absolute and tidy; ``..`` is kept where a symbolic link gives it meaning.

    A URI of a store stays as it is.
    """
    if is_remote(item):
        return item
    tidy = os.path.abspath(item)
    if ".." not in item.split("/"):
        return tidy
    plain = os.path.join(os.getcwd(), item)
    try:
        return tidy if os.path.samefile(plain, tidy) else plain
    except OSError:
        return plain if os.path.lexists(plain) else tidy


def suffix_of(name: str) -> str:
    """The suffix of a file's name, with its dot, in lower case."""
    return posixpath.splitext(name)[1].lower()


def reason_of(error: Exception) -> str:
    """The first line of what an error says, without the many that some stores add."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    line: str = text.strip().splitlines()[0].rstrip(".:")
    return line if len(line) <= 200 else line[:200] + " ..."
