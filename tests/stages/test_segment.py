"""Segments: spans of one label, with hysteresis, never beyond the video."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightsound.models.bundle import Task, TaskKind
from sightsound.pipeline.config import load_config
from sightsound.stages.plan import Grid, lay_windows
from sightsound.stages.records import Segment, TaskScores, WindowScores
from sightsound.stages.segment import UNKNOWN, SegmentRule, Segments

GRID = Grid(fps=2, length_s=8.0, hop_s=4.0)  # type: ignore[arg-type]
LABELS = ("cat", "dog", "owl")
ACTION = Task(name="action", kind="single", labels=LABELS, sources={"eye": 1})
SOUND = Task(name="sound", kind="multi", labels=LABELS, sources={"ear": 1})
RULE = SegmentRule(min_score=0.3, keep_score=0.2, switch_margin=0.1)

Row = dict[str, float] | None


def windows_of(
    *rows: Row,
    task: str = "action",
    duration_s: float | None = None,
    grid: Grid = GRID,
    shares: tuple[float, ...] = (),
) -> list[WindowScores]:
    """Windows of one task: scores by label, or None where the sense is missing."""
    whole_s = (len(rows) - 1) * grid.hop_s + grid.length_s
    end_s = whole_s if duration_s is None else duration_s
    windows = lay_windows(end_s, length_s=grid.length_s, hop_s=grid.hop_s)
    assert len(windows) == len(rows)
    found = []
    for number, (window, row) in enumerate(zip(windows, rows, strict=True)):
        tasks = {}
        if row is not None:
            best = sorted(row, key=lambda label: -row[label])
            share = shares[number] if shares else 0.5
            tasks[task] = TaskScores(
                indices=np.array([LABELS.index(label) for label in best], dtype=np.int32),
                scores=np.array([row[label] for label in best], dtype=np.float32),
                peaks_s=np.array([window.start_s + 1 + i for i in range(len(best))]),
                visual_share=share,
                audio_share=1 - share,
            )
        found.append(
            WindowScores(window=window, has_video=True, has_audio=True, corrupt=False, tasks=tasks)
        )
    return found


def segments_of(
    windows: list[WindowScores], task: Task = ACTION, rule: SegmentRule = RULE, grid: Grid = GRID
) -> list[Segment]:
    """The segments of one task."""
    return Segments([task], {task.name: rule}, grid)(windows)


def spans(segments: list[Segment]) -> list[tuple[str, float, float]]:
    """Label, start and end."""
    return [(segment.label, segment.start_s, segment.end_s) for segment in segments]


def test_one_label_throughout_is_one_segment() -> None:
    found = segments_of(windows_of({"cat": 0.8}, {"cat": 0.6}, {"cat": 0.7}))
    assert spans(found) == [("cat", 0.0, 16.0)]


def test_labels_change_in_the_middle_of_where_windows_overlap() -> None:
    found = segments_of(windows_of({"cat": 0.8}, {"dog": 0.9}, {"dog": 0.9}))
    assert spans(found) == [("cat", 0.0, 6.0), ("dog", 6.0, 16.0)]


def test_the_score_is_the_mean_and_the_peak_the_best_window() -> None:
    (found,) = segments_of(
        windows_of({"cat": 0.5}, {"cat": 0.9}, {"cat": 0.4}, shares=(0.2, 0.4, 0.9))
    )
    assert found.score == pytest.approx(0.6)
    assert found.peak_score == pytest.approx(0.9)
    assert found.peak_s == 5.0
    assert found.visual_share == pytest.approx(0.5)
    assert found.audio_share == pytest.approx(0.5)


def test_a_label_that_is_only_a_little_better_does_not_take_over() -> None:
    found = segments_of(
        windows_of({"cat": 0.5, "dog": 0.4}, {"dog": 0.55, "cat": 0.5}, {"cat": 0.5, "dog": 0.4})
    )
    assert spans(found) == [("cat", 0.0, 16.0)]
    assert found[0].score == pytest.approx(0.5)


def test_a_label_that_is_better_by_the_margin_takes_over() -> None:
    found = segments_of(windows_of({"cat": 0.5, "dog": 0.4}, {"dog": 0.65, "cat": 0.5}))
    assert [label for label, *_ in spans(found)] == ["cat", "dog"]


def test_a_label_that_is_no_longer_among_the_best_ends() -> None:
    found = segments_of(windows_of({"cat": 0.5}, {"dog": 0.31}))
    assert [label for label, *_ in spans(found)] == ["cat", "dog"]


def test_a_segment_with_a_low_mean_is_not_told() -> None:
    found = segments_of(windows_of({"cat": 0.35, "dog": 0.1}, {"cat": 0.2, "dog": 0.15}))
    assert found == []


def test_a_window_without_the_sense_ends_a_segment() -> None:
    found = segments_of(windows_of({"cat": 0.8}, {"cat": 0.8}, None, {"cat": 0.8}))
    assert spans(found) == [("cat", 0.0, 10.0), ("cat", 14.0, 20.0)]


def test_a_task_without_any_window_has_no_segment() -> None:
    assert segments_of(windows_of(None, None)) == []


def test_a_short_video_has_one_segment_as_long_as_itself() -> None:
    found = segments_of(windows_of({"cat": 0.8}, duration_s=0.1))
    assert spans(found) == [("cat", 0.0, 0.1)]


def test_several_labels_may_sound_at_once() -> None:
    found = segments_of(
        windows_of(
            {"cat": 0.8, "dog": 0.1},
            {"cat": 0.8, "dog": 0.6},
            {"dog": 0.6, "cat": 0.1},
            task="sound",
        ),
        SOUND,
    )
    assert spans(found) == [("cat", 0.0, 10.0), ("dog", 6.0, 16.0)]


def test_a_sound_goes_on_while_it_keeps_its_score() -> None:
    """It begins at 0.3 and goes on at 0.2."""
    found = segments_of(
        windows_of(
            {"cat": 0.25},
            {"cat": 0.35},
            {"cat": 0.22},
            {"cat": 0.19},
            {"cat": 0.25},
            task="sound",
        ),
        SOUND,
    )
    assert spans(found) == [("cat", 6.0, 14.0)]


def test_a_sound_that_lasts_to_the_end_ends_there() -> None:
    found = segments_of(windows_of({"cat": 0.1}, {"cat": 0.8}, task="sound", duration_s=9.5), SOUND)
    assert spans(found) == [("cat", 6.0, 9.5)]


def test_segments_come_by_task_and_then_by_start() -> None:
    windows = windows_of({"owl": 0.9}, {"owl": 0.9, "cat": 0.4})
    for scored in windows:
        scored.tasks["sound"] = scored.tasks["action"]
    found = Segments([SOUND, ACTION], {"sound": RULE, "action": RULE}, GRID)(windows)
    assert [(segment.task, segment.label) for segment in found] == [
        ("sound", "owl"),
        ("sound", "cat"),
        ("action", "owl"),
    ]


NAMED = dataclasses.replace(ACTION, threshold=0.6)


def test_a_run_below_the_threshold_is_unknown_with_its_score() -> None:
    (found,) = segments_of(windows_of({"cat": 0.5}, {"cat": 0.4}), NAMED)
    assert (found.label, found.score) == (UNKNOWN, pytest.approx(0.45))
    assert (found.start_s, found.end_s) == (0.0, 12.0)
    assert (found.peak_score, found.peak_s) == (pytest.approx(0.5), 1.0)


def test_a_run_at_the_threshold_keeps_its_label() -> None:
    (found,) = segments_of(windows_of({"cat": 0.5}, {"cat": 0.75}), NAMED)
    assert found.label == "cat"


def test_unknown_is_told_even_below_the_least_score() -> None:
    (found,) = segments_of(windows_of({"cat": 0.1}), NAMED)
    assert (found.label, found.score) == (UNKNOWN, pytest.approx(0.1))


def test_neighbouring_unknown_runs_are_one() -> None:
    rows: list[Row] = [{"cat": 0.5, "dog": 0.1}, {"dog": 0.3, "cat": 0.1}, {"owl": 0.9}]
    found = segments_of(windows_of(*rows), NAMED)
    assert spans(found) == [(UNKNOWN, 0.0, 10.0), ("owl", 10.0, 16.0)]
    assert found[0].score == pytest.approx(0.4)


def test_unknown_runs_apart_are_two() -> None:
    found = segments_of(windows_of({"cat": 0.5}, None, {"cat": 0.5}), NAMED)
    assert [label for label, *_ in spans(found)] == [UNKNOWN, UNKNOWN]


def test_several_labels_are_never_unknown() -> None:
    task = dataclasses.replace(SOUND, threshold=0.9)
    found = segments_of(windows_of({"cat": 0.5}, task="sound"), task)
    assert spans(found) == [("cat", 0.0, 8.0)]


@pytest.mark.parametrize(("kind", "as_task"), [("single", "action"), ("multi", "sound")])
def test_a_task_that_is_not_configured_goes_by_its_kind(kind: TaskKind, as_task: str) -> None:
    """With what is set for the task that it is like."""
    config = load_config(settings=(f"segments.{as_task}.min_score=0.55",))
    windows = windows_of({"cat": 0.6}, None, {"cat": 0.5}, task="fight")
    found = Segments([dataclasses.replace(ACTION, name="fight", kind=kind)], config.rules(), GRID)(
        windows
    )
    assert spans(found) == [("cat", 0.0, 6.0)]


def test_a_task_that_is_configured_goes_by_its_own_rule() -> None:
    rule = {"min_score": 0.7, "keep_score": 0.7}
    rules = load_config(settings=(f"segments.fight={rule}",)).rules()
    fight = dataclasses.replace(ACTION, name="fight")
    assert Segments([fight], rules, GRID)(windows_of({"cat": 0.6}, task="fight")) == []


scores = st.floats(0, 1, width=32)
rows = st.lists(
    st.none() | st.dictionaries(st.sampled_from(LABELS), scores, min_size=1),
    min_size=1,
    max_size=12,
)
grids = st.sampled_from([(8.0, 4.0), (8.0, 8.0), (9.0, 1.0), (2.0, 1.5)])
rules = st.builds(
    SegmentRule,
    min_score=st.floats(0, 1),
    keep_score=st.floats(0, 1),
    switch_margin=st.floats(0, 0.5),
)
cut_off = st.floats(0, 0.99)


def random_windows(
    found_rows: list[Row], shape: tuple[float, float], cut: float, task: str
) -> tuple[list[WindowScores], Grid, float]:
    """Windows, their grid and the duration; ``cut`` of what the last one adds is missing."""
    grid = Grid(fps=2, length_s=shape[0], hop_s=shape[1])  # type: ignore[arg-type]
    whole_s = (len(found_rows) - 1) * grid.hop_s + grid.length_s
    new_s = grid.hop_s if len(found_rows) > 1 else grid.length_s
    duration_s = whole_s - cut * new_s
    return windows_of(*found_rows, task=task, duration_s=duration_s, grid=grid), grid, duration_s


@given(rows, grids, cut_off, rules)
def test_segments_of_one_label_never_overlap_and_lie_within_the_video(
    found_rows: list[Row], shape: tuple[float, float], cut: float, rule: SegmentRule
) -> None:
    windows, grid, duration_s = random_windows(found_rows, shape, cut, "action")
    found = segments_of(windows, ACTION, rule, grid)
    last_end_s = 0.0
    for segment in found:
        assert last_end_s <= segment.start_s < segment.end_s <= duration_s
        last_end_s = segment.end_s


@given(rows, grids, cut_off)
def test_with_no_threshold_segments_tile_what_was_scored(
    found_rows: list[Row], shape: tuple[float, float], cut: float
) -> None:
    windows, grid, duration_s = random_windows(found_rows, shape, cut, "action")
    rule = SegmentRule(min_score=0, keep_score=0, switch_margin=0.1)
    found = segments_of(windows, ACTION, rule, grid)
    told_s = sum(segment.end_s - segment.start_s for segment in found)
    if all(row is not None for row in found_rows):
        assert told_s == pytest.approx(duration_s)
        assert found[0].start_s == 0
        assert found[-1].end_s == duration_s
    else:
        assert told_s < duration_s


@given(rows, grids, cut_off, rules, st.floats(0, 1))
def test_above_the_threshold_segments_are_the_same_with_it_and_without(
    found_rows: list[Row], shape: tuple[float, float], cut: float, rule: SegmentRule, least: float
) -> None:
    windows, grid, _ = random_windows(found_rows, shape, cut, "action")
    without = segments_of(windows, ACTION, rule, grid)
    found = segments_of(windows, dataclasses.replace(ACTION, threshold=least), rule, grid)
    named = [segment for segment in found if segment.label != UNKNOWN]
    assert named == [segment for segment in without if segment.score >= least]
    assert all(segment.score < least for segment in found if segment.label == UNKNOWN)
    last_end_s = 0.0
    for segment in found:
        assert last_end_s <= segment.start_s
        last_end_s = segment.end_s


@given(rows, grids, cut_off, rules)
def test_sounds_of_one_label_never_overlap_and_lie_within_the_video(
    found_rows: list[Row], shape: tuple[float, float], cut: float, rule: SegmentRule
) -> None:
    windows, grid, duration_s = random_windows(found_rows, shape, cut, "sound")
    found = segments_of(windows, SOUND, rule, grid)
    for label in LABELS:
        last_end_s = 0.0
        for segment in found:
            if segment.label == label:
                assert last_end_s <= segment.start_s < segment.end_s <= duration_s
                last_end_s = segment.end_s


@given(rows, grids, cut_off, rules, st.sampled_from([ACTION, SOUND]))
def test_scores_stay_between_the_least_and_the_peak(
    found_rows: list[Row],
    shape: tuple[float, float],
    cut: float,
    rule: SegmentRule,
    task: Task,
) -> None:
    windows, grid, _ = random_windows(found_rows, shape, cut, task.name)
    for segment in segments_of(windows, task, rule, grid):
        assert segment.score <= segment.peak_score + 1e-6
        assert 0 <= segment.score <= 1
        assert segment.visual_share + segment.audio_share == pytest.approx(1)
        if task.kind == "single":
            assert segment.score >= rule.min_score
        else:
            assert segment.peak_score >= rule.min_score
