"""Digests: one number for results, whatever the order and the way they came."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.results import (
    DAMAGED,
    TASKS,
    content_of,
    failed,
    labelled,
    media_info,
    video_plan,
    window_scores,
)
from helpers.results import segments as segments_strategy
from hypothesis import given, settings
from hypothesis import strategies as st

from sightsound.pipeline.digest import run_digest, video_digest
from sightsound.pipeline.keys import keys_from_hex, make_keys
from sightsound.stages.records import VideoResult
from sightsound.stages.tables import (
    SEGMENTS_SCHEMA,
    VIDEOS_SCHEMA,
    segment_row,
    video_row,
    window_row,
    windows_schema,
)


def rows_of(result, *, embedding=True):
    return (
        video_row(result, model_id="model", config_id="config"),
        [window_row(result, w, TASKS, top_k=5, embedding=embedding) for w in result.windows],
        [segment_row(result, segment) for segment in result.segments],
    )


def through_parquet(rows, schema):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
    return pq.read_table(pa.BufferReader(sink.getvalue())).to_pylist()


@st.composite
def results(draw):
    n_labels = {task.name: len(task.labels) for task in TASKS}
    n_windows = draw(st.integers(0, 3))
    windows = tuple(draw(window_scores(index, n_labels)) for index in range(n_windows))
    return VideoResult(
        uri=draw(st.text(st.characters(exclude_categories=["Cs"]))),
        status="partial",
        failure=DAMAGED,
        info=media_info("/a"),
        plan=video_plan(n_windows=n_windows),
        windows=windows,
        segments=tuple(
            draw(
                st.lists(
                    segments_strategy(),
                    max_size=4,
                    unique_by=lambda segment: (segment.task, segment.start_s, segment.label),
                )
            )
        ),
        rotation=draw(st.sampled_from((0, 90, 180))),
        processing_s=draw(st.floats(0, 1e6)),
    )


@given(results(), st.booleans())
@settings(max_examples=60)
def test_digest_is_the_same_for_rows_as_written_and_as_read_again(result, embedding):
    video, windows, segments = rows_of(result, embedding=embedding)
    (video_again,) = through_parquet([video], VIDEOS_SCHEMA)
    assert video_digest(video, windows, segments) == video_digest(
        video_again,
        through_parquet(windows, windows_schema(TASKS, embedding=embedding)),
        through_parquet(segments, SEGMENTS_SCHEMA),
    )


@given(results(), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_digest_does_not_depend_on_the_order_of_rows(result, random):
    video, windows, segments = rows_of(result)
    before = video_digest(video, windows, segments)
    random.shuffle(windows)
    random.shuffle(segments)
    assert video_digest(video, windows, segments) == before


def test_digest_of_a_video_that_failed_is_the_same_as_read_again():
    video, _, _ = rows_of(failed("/a"))
    (again,) = through_parquet([video], VIDEOS_SCHEMA)
    assert video_digest(video, [], []) == video_digest(again, [], [])


def test_time_taken_and_columns_of_a_manifest_are_left_out():
    video, windows, segments = rows_of(labelled("/a"))
    other = video | {"processing_s": 99.0, "camera": "left"}
    assert video_digest(other, windows, segments) == video_digest(video, windows, segments)


@pytest.mark.parametrize("column", [name for name in VIDEOS_SCHEMA.names if name != "processing_s"])
def test_any_other_column_of_videos_changes_the_digest(column):
    video, windows, segments = rows_of(labelled("/a"))
    other = video | {column: "another"}
    assert video_digest(other, windows, segments) != video_digest(video, windows, segments)


@pytest.mark.parametrize("table", [1, 2])
def test_row_that_is_missing_or_there_twice_changes_the_digest(table):
    rows = rows_of(labelled("/a", n_windows=3))
    found = {video_digest(*rows)}
    for changed in (rows[table][1:], rows[table] * 2):
        found.add(video_digest(*rows[:table], changed, *rows[table + 1 :]))
    assert len(found) == 3


def test_smallest_change_of_a_score_changes_the_digest():
    video, windows, segments = rows_of(labelled("/a"))
    before = video_digest(video, windows, segments)
    windows[0]["action"][0]["score"] += 2**-24
    assert video_digest(video, windows, segments) != before


# Runs


NAMES = [f"/{number}" for number in range(9)]
DIGESTS = [content_of(name) for name in NAMES]


def of_run(names, digests):
    return run_digest(make_keys(names), keys_from_hex(digests))


@given(st.permutations(range(9)))
def test_digest_of_a_run_does_not_depend_on_the_order_of_inputs(order):
    shuffled = of_run([NAMES[i] for i in order], [DIGESTS[i] for i in order])
    assert shuffled == of_run(NAMES, DIGESTS)


def test_digest_of_a_run_changes_with_any_of_its_videos():
    found = {of_run(NAMES, DIGESTS), of_run(NAMES[1:], DIGESTS[1:])}
    for index in range(9):
        digests = [*DIGESTS]
        digests[index] = content_of("another")
        found.add(of_run(NAMES, digests))
    assert len(found) == 11
