"""The place where results are written: a local folder or a prefix of an object store.

Every file is whole or absent. On local disks a file is written under a temporary name, flushed
to disk and renamed; on object stores it is put in one request, which is seen whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from sightsound.stages.storage import TEMPORARY_SUFFIX, is_remote, local_path, locate, write_whole


class OutputError(OSError):
    """The output cannot be used; the message says why and what to do."""


class Output:
    """Files below one root, named by their path in it, such as ``videos/00000001.parquet``."""

    def __init__(self, root: str) -> None:
        """Make the root.

        Raises:
            OutputError: it cannot be made, or no file system is known for it.
        """
        self.is_local = not is_remote(root)
        self.root = os.path.abspath(local_path(root)) if self.is_local else root.rstrip("/")
        try:
            self._system, self._base = locate(self.root)
            if self.is_local:
                os.makedirs(self.root, exist_ok=True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise OutputError(
                f"{root} cannot be used for results ({reason}): choose another --out."
            ) from error

    def path(self, name: str) -> str:
        """Where a file lies in its file system."""
        return f"{self._base}/{name}"

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write a file, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        if not self.is_local:
            with self._system.open_output_stream(self.path(name)) as stream:
                stream.write(data)
            return
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda temporary: temporary.write_bytes(data))

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write a Parquet file. The table is held in memory a second time, compressed.

        Raises:
            OSError: it cannot be written.
        """
        self.write_tables(name, table.schema, [table])

    def write_tables(self, name: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
        """Write tables, one after the other, as the row groups of one Parquet file.

        Raises:
            OSError: it cannot be written.
        """
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table)
        self.write(name, memoryview(sink.getvalue()))

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            OSError: it is not there or cannot be read.
        """
        with self._system.open_input_file(self.path(name)) as file:
            data: bytes = file.read()
        return data

    def read_table(self, name: str, *, columns: list[str] | None = None) -> pa.Table:
        """A Parquet file, or some of its columns.

        Raises:
            OSError: it is not there or cannot be read.
        """
        return pq.read_table(self.path(name), filesystem=self._system, columns=columns)

    def schema(self, name: str) -> pa.Schema:
        """The schema of a Parquet file."""
        return pq.read_schema(self.path(name), filesystem=self._system)

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        found = self._system.get_file_info(self.path(name))
        return bool(found.type == fs.FileType.File)

    def names(self, folder: str, *, suffix: str = "") -> list[str]:
        """The files in a folder and below it, by their path in it, sorted."""
        root = self.path(folder) if folder else self._base
        selector = fs.FileSelector(root, recursive=True, allow_not_found=True)
        start = len(root) + 1
        return sorted(
            info.path[start:]
            for info in self._system.get_file_info(selector)
            if info.type == fs.FileType.File and info.path.endswith(suffix)
        )

    def delete(self, name: str) -> None:
        """Delete a file if it is there."""
        if self.exists(name):
            self._system.delete_file(self.path(name))

    def delete_folder(self, folder: str) -> None:
        """Delete a folder with all that is in it, if it is there."""
        if self.is_local and not os.path.isdir(self.path(folder)):
            return
        self._system.delete_dir_contents(self.path(folder), missing_dir_ok=True)
        if self.is_local:
            os.rmdir(self.path(folder))

    def remove_temporary_files(self) -> int:
        """Delete what writers that were killed have left; the number of files."""
        if not self.is_local:
            return 0
        found = [name for name in self.names("") if _is_temporary(name)]
        for name in found:
            self.delete(name)
        return len(found)

    def lock(self) -> Callable[[], None]:
        """Take the root for this process; the function returned gives it back.

        Held by the kernel, so a killed process leaves none behind. Object stores have no locks.

        Raises:
            OutputError: another run is writing there.
        """
        if not self.is_local:
            return lambda: None
        import fcntl

        path = Path(self.path("ledger/lock"))
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise OutputError(
                f"Another run is writing to {self.root}: wait for it, or choose another --out."
            ) from None
        return lambda: os.close(descriptor)


def _is_temporary(name: str) -> bool:
    base = name.rsplit("/", 1)[-1]
    return base.startswith(".") and base.endswith(TEMPORARY_SUFFIX)
