"""Steps of a batch: inputs to groups of slices, and slices to what became of them."""

from __future__ import annotations

import pyarrow as pa
import pytest
from helpers.results import DAMAGED, content_of, media_info, piece, plain, slice_result, video_plan
from hypothesis import given, settings
from hypothesis import strategies as st

from sightsound.pipeline import batch_steps
from sightsound.pipeline.batch_steps import (
    GROUP_SCHEMA,
    SMALL_BYTES,
    End,
    Inspect,
    Label,
    Piece,
    Small,
    content_ids,
    identify,
    input_block,
    pack,
    small_groups,
    unpack,
)
from sightsound.pipeline.config import Config
from sightsound.pipeline.tasks import InspectTask
from sightsound.pipeline.workers import Outcome
from sightsound.stages.errors import StageError
from sightsound.stages.probe import content_id

CONFIG = Config()


class CrashError(Exception):
    """Stands for the end of a worker process."""


class StallError(Exception):
    """Stands for one that was killed."""


class StandInPool:
    """A pool whose worker is this process."""

    def __init__(self, make, n_workers, *, memory_bytes, runs_main):
        self._handler = make()
        self._outcomes = []

    def start(self):
        pass

    def submit(self, task, limits):
        assert self._outcomes == [], "one task at a time"
        try:
            outcome = Outcome(task=task, kind="done", value=self._handler(task, lambda: None))
        except StageError as error:
            outcome = Outcome(task=task, kind="failed", error=error, reason=error.message)
        except CrashError:
            outcome = Outcome(task=task, kind="crashed", reason="its process crashed (SIGSEGV)")
        except StallError:
            outcome = Outcome(task=task, kind="timeout", reason="no progress for 60 s")
        self._outcomes.append(outcome)

    def wait(self):
        while self._outcomes:
            yield self._outcomes.pop()


@pytest.fixture(autouse=True, scope="module")
def no_processes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_steps, "WorkerPool", StandInPool)
        patch.setattr(batch_steps, "WORKER_ENVIRONMENT", {})
        yield


def misbehave(name):
    match name:
        case "damaged":
            raise StageError("decode", "damaged", "It is damaged.")
        case "crash":
            raise CrashError
        case "hang":
            raise StallError


def make_handler(config):
    """Paths say what they are: /NAME/2+3 is a video of two slices, of 2 and 3 windows."""
    assert config is CONFIG

    def handle(task, alive):
        if isinstance(task, InspectTask):
            _, name, counts = task.path.split("/")
            misbehave(name)
            slices, first = [], 0
            for index, count in enumerate(map(int, counts.split("+"))):
                slices.append(piece(index, first, first + count))
                first += count
            return media_info(task.path), video_plan(*slices)
        if task.piece.index == 1:
            misbehave(task.info.path.split("/")[1].removeprefix("late-"))
        return slice_result(task.piece)

    return handle


def inspected(*uris, stored=None, size_bytes=1000, passes_small=False):
    """The groups that inputs make; positions count from 10."""
    positions = list(range(10, 10 + len(uris)))
    block = input_block(positions, list(uris), [size_bytes] * len(uris))
    inspect = Inspect(CONFIG, make_handler, stored or {}, passes_small=passes_small)
    return [group for table in inspect(pack(block.to_pylist())) for group in unpack(table)]


def labelled(*groups, stored=None):
    label = Label(CONFIG, make_handler, stored or {})
    return [done for group in groups for table in label(pack(group)) for done in unpack(table)]


def length_s(item):
    if isinstance(item, End):
        return 0.0
    return item.piece.windows[-1].end_s - item.piece.windows[0].start_s


def names(groups):
    return [[(item.position, item.piece.index) for item in group] for group in groups]


# Groups


@given(st.lists(st.lists(st.integers() | st.text())))
def test_groups_come_out_of_a_block_as_they_went_in(groups):
    block = pa.concat_tables([GROUP_SCHEMA.empty_table(), *map(pack, groups)])
    assert list(unpack(block)) == groups


def test_group_is_one_row():
    assert pack(["a", "b", "c"]).num_rows == 1


def test_short_videos_are_put_together_up_to_task_video_s():
    assert CONFIG.batch.task_video_s == 30
    groups = inspected(*(f"/{number}/1" for number in range(7)))
    assert [[item.position for item in group] for group in groups] == [
        [10, 11, 12],
        [13, 14, 15],
        [16],
    ]
    assert sum(map(length_s, groups[0])) == 24


def test_slices_of_a_long_video_are_groups_of_their_own():
    groups = inspected("/short/1", "/long/20+20+7", "/short/1")
    assert names(groups) == [[(10, 0)], [(11, 0)], [(11, 1)], [(11, 2)], [(12, 0)]]


def test_rest_of_a_long_video_goes_with_what_follows():
    groups = inspected("/long/20+2", "/short/1")
    assert names(groups) == [[(10, 0)], [(10, 1), (11, 0)]]


@given(st.lists(st.lists(st.integers(1, 10), min_size=1, max_size=3), max_size=12))
@settings(max_examples=60)
def test_groups_hold_all_slices_in_order_and_as_many_as_fit(videos):
    groups = inspected(*(f"/x/{'+'.join(map(str, counts))}" for counts in videos))
    found = [name for group in names(groups) for name in group]
    assert found == [
        (10 + position, index)
        for position, counts in enumerate(videos)
        for index in range(len(counts))
    ]
    lengths = [sum(map(length_s, group)) for group in groups]
    assert all(
        length <= CONFIG.batch.task_video_s or len(group) == 1
        for length, group in zip(lengths, groups, strict=True)
    )
    following = [length_s(group[0]) for group in groups[1:]]
    assert all(
        held + more > CONFIG.batch.task_video_s
        for held, more in zip(lengths, following, strict=False)
    )


def test_inputs_that_take_no_time_are_256_in_a_group():
    groups = inspected(*["/damaged/1"] * 600)
    assert [len(group) for group in groups] == [256, 256, 88]


def test_piece_has_what_labels_it_and_no_slices_of_others():
    ((first, second),) = inspected("/x/2+3")
    assert (second.position, second.n_slices, second.info.path) == (10, 2, "/x/2+3")
    assert [window.index for window in second.piece.windows] == [2, 3, 4]
    assert first.plan.slices == second.plan.slices == ()
    assert second.plan.n_windows == 5


# Inputs that fail


def test_input_that_cannot_be_opened_ends_with_its_error():
    ((end,),) = inspected("/damaged/1")
    assert (end.position, end.info, end.is_death) == (10, None, False)
    assert (end.failure.code, end.failure.message) == ("damaged", "It is damaged.")


@pytest.mark.parametrize(("name", "code"), [("crash", "crashed"), ("hang", "timeout")])
def test_input_that_kills_a_process_is_a_death(name, code):
    ((end, after),) = inspected(f"/{name}/1", "/x/1")
    assert (end.failure.stage, end.failure.code, end.is_death) == ("probe", code, True)
    assert isinstance(after, Piece)


# Slices that are stored


def test_stored_slices_of_a_long_video_are_not_labelled_again():
    uri = "/x/20+20"
    groups = inspected(uri, stored={content_of(uri): {(20, 40), (0, 5)}})
    (first,), (second,) = groups
    assert isinstance(first, Piece)
    assert isinstance(second, End) and second.is_stored
    assert (second.position, second.index, second.span, second.n_slices) == (10, 1, (20, 40), 2)
    assert second.result is None and second.failure is None


def test_slices_that_another_video_has_stored_are_labelled():
    ((item,), _) = inspected("/x/20+20", stored={content_of("/y/20+20"): {(0, 20)}})
    assert isinstance(item, Piece)


# Small files


def test_small_files_are_left_to_the_worker_that_labels():
    groups = inspected("/x/1", "/y/1", passes_small=True)
    assert groups == [
        [
            Small(position=10, uri="/x/1", size_bytes=1000),
            Small(position=11, uri="/y/1", size_bytes=1000),
        ]
    ]


@pytest.mark.parametrize("size_bytes", [SMALL_BYTES + 1, -1])
def test_large_files_and_those_of_unknown_size_are_inspected_first(size_bytes):
    ((item,),) = inspected("/x/1", size_bytes=size_bytes, passes_small=True)
    assert isinstance(item, Piece)


def test_small_files_are_put_together_by_their_size():
    groups = inspected(*["/x/1"] * 5, size_bytes=1_000_000, passes_small=True)
    assert [len(group) for group in groups] == [1, 1, 1, 1, 1]
    groups = inspected(*["/x/1"] * 5, size_bytes=600_000, passes_small=True)
    assert [len(group) for group in groups] == [3, 2]


@given(st.lists(st.lists(st.integers(0, 2_000_000), max_size=5), min_size=1, max_size=3))
def test_small_files_alone_make_the_groups_that_an_inspector_would(sizes):
    blocks = [
        input_block(list(range(len(some))), ["/x/1"] * len(some), list(some)) for some in sizes
    ]
    inspect = Inspect(CONFIG, make_handler, {}, passes_small=True)
    passed = inspect(pa.concat_tables(pack(block.to_pylist()) for block in blocks))
    assert small_groups(blocks, CONFIG) == [group for table in passed for group in unpack(table)]


@pytest.mark.parametrize("size_bytes", [SMALL_BYTES + 1, -1])
def test_one_file_that_is_not_small_needs_an_inspector(size_bytes):
    small, other = (input_block([0], ["/x/1"], [size]) for size in (1000, size_bytes))
    assert small_groups([small, small], CONFIG) is not None
    assert small_groups([small, other], CONFIG) is None


@pytest.mark.parametrize("uri", ["/x/2+3", "/damaged/1", "/crash/1", "/late-crash/1+1+1"])
def test_small_file_ends_as_one_that_was_inspected_first(uri):
    ((*small,),) = labelled(*inspected(uri, passes_small=True))
    ((*whole,),) = labelled(*inspected(uri))
    assert [plain(end) for end in small] == [plain(end) for end in whole]


def test_stored_slices_of_a_small_file_are_not_labelled_again():
    uri = "/x/2+3"
    stored = {content_of(uri): {(0, 2)}}
    ((first, second),) = labelled(*inspected(uri, passes_small=True), stored=stored)
    assert (first.is_stored, second.is_stored) == (True, False)
    assert plain(second.result) == plain(slice_result(piece(1, 2, 5)))


# Labelling


def test_labelled_slice_comes_with_its_result_and_its_place():
    ((first, second),) = labelled(*inspected("/x/2+3"))
    assert plain(second.result) == plain(slice_result(piece(1, 2, 5)))
    assert (first.index, first.span, second.index, second.span) == (0, (0, 2), 1, (2, 5))
    assert (second.position, second.n_slices, second.info.path) == (10, 2, "/x/2+3")
    assert (second.failure, second.windows, second.is_death) == (None, (), False)


def test_ends_pass_through_unchanged():
    ends = [
        End(position=3, failure=DAMAGED),
        End(position=4, index=2, span=(4, 6), n_slices=3, is_stored=True),
    ]
    assert labelled(ends) == [ends]


def test_groups_of_a_block_are_labelled_one_by_one():
    groups = inspected("/x/20", "/y/20")
    block = pa.concat_tables(map(pack, groups))
    tables = list(Label(CONFIG, make_handler, {})(block))
    assert [table.num_rows for table in tables] == [1, 1]


@pytest.mark.parametrize(
    ("name", "code", "is_death"),
    [("damaged", "damaged", False), ("crash", "crashed", True), ("hang", "timeout", True)],
)
def test_slice_that_fails_leaves_its_windows_and_costs_no_other(name, code, is_death):
    ((first, lost, last),) = labelled(*inspected(f"/late-{name}/1+1+1"))
    assert (lost.failure.stage, lost.failure.code, lost.is_death) == ("decode", code, is_death)
    assert [window.index for window in lost.windows] == [1]
    assert (lost.result, lost.index, lost.n_slices) == (None, 1, 3)
    assert first.result is not None and last.result is not None


# Contents


def test_files_are_identified_by_content_and_unreadable_ones_by_null(tmp_path):
    for name, data in (("a", b"same"), ("b", b"other"), ("c", b"same")):
        (tmp_path / name).write_bytes(data)
    uris = [str(tmp_path / name) for name in ("a", "none", "b", "c", ".")]
    rows = [
        {"position": position, "uri": uri}
        for position, uri in zip([4, 0, 2, 9, 1], uris, strict=True)
    ]
    found = identify(pa.concat_tables([pack(rows[:2]), pack(rows[2:])]))
    assert found["position"].to_pylist() == [4, 0, 2, 9, 1]
    same, missing, other, again, folder = found["content_id"].to_pylist()
    assert same == again == content_id(uris[0]) != other
    assert missing is None and folder is None


def test_block_of_unreadable_files_has_the_columns_of_others(tmp_path):
    found = content_ids([{"position": 1, "uri": str(tmp_path / "none")}])
    assert found.schema.field("content_id").type == pa.string()
