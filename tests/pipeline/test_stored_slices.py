"""Stored slices: what was labelled of a long video before its run was killed, unchanged."""

from __future__ import annotations

import io

import numpy as np
import pytest
from helpers.results import (
    RUN,
    content_of,
    files,
    piece,
    plain,
    slice_result,
    window_scores,
)
from helpers.results import no_flush as no_flush
from hypothesis import given, settings
from hypothesis import strategies as st

from sightsound.pipeline.ledger import RunKey
from sightsound.pipeline.output import Output
from sightsound.pipeline.stored_slices import StoredSlices, decode_slice, encode_slice, span_of
from sightsound.stages.records import SliceResult

LONG, OTHER = content_of("/long"), content_of("/other")
FIRST, SECOND = piece(0, 0, 3), piece(1, 3, 5)
# Names that an archive or its reader might take for something else.
N_LABELS = {"action": 3, "meta": 1, "a/b.scores": 2, "Geräusch": 0}


@pytest.fixture
def stored(tmp_path):
    return StoredSlices(Output(str(tmp_path)), RUN)


def put(stored, video_id, *pieces):
    for item in pieces:
        stored.put(video_id, span_of(item), slice_result(item))


@st.composite
def slice_results(draw):
    first = draw(st.integers(0, 2**40))
    counts = st.integers(0, 2**40)
    return SliceResult(
        index=draw(counts),
        windows=tuple(
            draw(window_scores(first + number, N_LABELS))
            for number in range(draw(st.integers(0, 3)))
        ),
        n_frames_decoded=draw(counts),
        n_frames_corrupt=draw(counts),
        rotation=draw(st.sampled_from((-90, 0, 90, 180))),
        decoded_in_full=draw(st.booleans()),
        decoder_fallback=draw(st.sampled_from(("", "decord cannot: PyAV decoded the picture."))),
        stage_s=draw(
            st.dictionaries(st.sampled_from(("decode", "fuse")), st.floats(0, allow_infinity=False))
        ),
    )


@given(slice_results())
@settings(max_examples=60)
def test_slice_comes_back_as_it_was(result):
    again = decode_slice(encode_slice(result))
    assert plain(again) == plain(result)
    assert [list(scored.tasks) for scored in again.windows] == [
        list(scored.tasks) for scored in result.windows
    ]


def test_numbers_come_back_as_the_types_that_rows_are_made_of():
    (scored, *_) = decode_slice(encode_slice(slice_result(FIRST))).windows
    assert type(scored.window.index) is int
    assert {type(scored.window.start_s), type(scored.tasks["action"].visual_share)} == {float}
    assert {type(scored.has_video), type(scored.corrupt)} == {bool}


def test_span_reaches_from_the_first_window_past_the_last():
    assert span_of(SECOND) == (3, 5)


def test_slices_are_found_by_video_and_span(stored):
    put(stored, LONG, FIRST, SECOND)
    put(stored, OTHER, FIRST)
    assert stored.spans() == {LONG: {(0, 3), (3, 5)}, OTHER: {(0, 3)}}
    assert plain(stored.get(LONG, (3, 5))) == plain(slice_result(SECOND))


def test_later_run_of_the_same_model_and_configuration_finds_them(stored, tmp_path):
    put(stored, LONG, FIRST)
    later = StoredSlices(Output(str(tmp_path)), RunKey(RUN.model_id, RUN.config_id))
    assert plain(later.get(LONG, (0, 3))) == plain(slice_result(FIRST))


@pytest.mark.parametrize("run", [RunKey("newer", RUN.config_id), RunKey(RUN.model_id, "changed")])
def test_other_model_or_configuration_finds_none(stored, tmp_path, run):
    put(stored, LONG, FIRST)
    assert StoredSlices(Output(str(tmp_path)), run).spans() == {}


def test_half_written_slice_is_none(stored, tmp_path):
    put(stored, LONG, FIRST)
    (whole,) = tmp_path.rglob("0-3.npz")
    whole.rename(whole.with_name(".0-3.npz.tmp"))
    assert stored.spans() == {}


def test_files_of_others_are_no_slices(stored, tmp_path):
    put(stored, LONG, FIRST)
    (whole,) = tmp_path.rglob("0-3.npz")
    for name in ("mine.npz", "0-3.npz.bak", "3-.npz"):
        whole.with_name(name).write_bytes(b"x")
    (whole.parent.parent / "0-3.npz").write_bytes(b"x")
    assert stored.spans() == {LONG: {(0, 3)}}


def test_clearing_leaves_no_slice_of_any_run(stored, tmp_path):
    put(stored, LONG, FIRST)
    put(StoredSlices(Output(str(tmp_path)), RunKey("older", "config")), LONG, FIRST)
    (tmp_path / "ledger/00000001.parquet").write_bytes(b"x")
    stored.clear()
    assert files(tmp_path) == ["ledger/00000001.parquet"]
    assert stored.spans() == {}


def test_slice_that_is_not_there_cannot_be_read(stored):
    with pytest.raises(FileNotFoundError):
        stored.get(LONG, (0, 3))


def test_archive_with_code_in_it_is_refused():
    file = io.BytesIO()
    np.savez(file, meta=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        decode_slice(file.getvalue())
