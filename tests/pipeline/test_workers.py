"""Worker processes that crash, hang or fail, and the tasks that they had."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers.faulty import Stillborn, make_dying, make_obedient
from helpers.hungry import make_hungry

from sightsound.pipeline.workers import Limits, Outcome, WorkerPool, WorkersDieError

PATIENT = Limits(stall_s=60, deadline_s=60)


def run(pool: WorkerPool, tasks: list[Any], limits: Limits = PATIENT) -> list[Outcome]:
    waiting, outcomes = list(tasks), []
    while len(outcomes) < len(tasks):
        while waiting and pool.n_idle:
            pool.submit(waiting.pop(0), limits)
        outcomes += list(pool.wait())
    return outcomes


@pytest.fixture
def pool():
    with WorkerPool(make_obedient, 2) as pool:
        yield pool


def test_every_task_ends_in_one_outcome_with_its_own_value(pool):
    outcomes = run(pool, [("add", i, 1) for i in range(50)])
    assert sorted(outcome.task[1] for outcome in outcomes) == list(range(50))
    assert all(outcome.value == outcome.task[1] + 1 for outcome in outcomes)


def test_segfault_is_reported_with_its_signal_and_costs_only_its_task(pool):
    outcomes = {o.task: o for o in run(pool, [("segfault",), *(("add", i, i) for i in range(8))])}
    crashed = outcomes.pop(("segfault",))
    assert crashed.kind == "crashed"
    assert "SIGSEGV" in crashed.reason
    assert all(outcome.kind == "done" for outcome in outcomes.values())


def test_exit_of_a_worker_is_reported_with_its_status(pool):
    (outcome,) = run(pool, [("exit",)])
    assert outcome.kind == "crashed"
    assert "exit status 7" in outcome.reason


def test_silent_task_is_killed_after_the_stall_time(pool):
    (outcome,) = run(pool, [("hang",)], Limits(stall_s=1, deadline_s=60))
    assert outcome.kind == "timeout"
    assert "no progress for 1 s" in outcome.reason


def test_task_that_shows_life_outlives_the_stall_time(pool):
    (outcome,) = run(pool, [("busy", 3)], Limits(stall_s=1.5, deadline_s=60))
    assert outcome.value == "finished"


def test_deadline_ends_even_a_task_that_shows_life(pool):
    (outcome,) = run(pool, [("busy", 60)], Limits(stall_s=30, deadline_s=1))
    assert outcome.kind == "timeout"
    assert "deadline of 1 s" in outcome.reason


def workers_alive() -> int:
    lines = [" ".join(child.cmdline()) for child in psutil.Process().children()]
    return sum("multiprocessing.spawn" in line for line in lines)


def test_killed_workers_leave_no_process_behind():
    before = workers_alive()
    with WorkerPool(make_obedient, 2) as pool:
        pool.submit(("busy", 60), PATIENT)
        pool.submit(("hang",), Limits(stall_s=0.5, deadline_s=60))
        assert workers_alive() == before + 2
        while not list(pool.wait()):
            pass
        assert workers_alive() == before + 1
    assert workers_alive() == before


def test_workers_are_started_only_as_tasks_need_them():
    before = workers_alive()
    with WorkerPool(make_obedient, 4) as pool:
        assert workers_alive() == before
        run(pool, [("pid",)])
        run(pool, [("pid",)])
        assert workers_alive() == before + 1


def test_started_workers_are_there_before_their_tasks():
    before = workers_alive()
    with WorkerPool(make_obedient, 2) as pool:
        pool.start()
        assert workers_alive() == before + 2
        run(pool, [("pid",), ("pid",)])
        assert workers_alive() == before + 2


@pytest.mark.parametrize(("runs_main", "n_runs"), [(True, 2), (False, 1)])
def test_main_script_is_run_by_workers_only_where_asked(tmp_path, runs_main, n_runs):
    script = tmp_path / "script.py"
    script.write_text(
        "print('run', flush=True)\n"
        "if __name__ == '__main__':\n"
        "    from helpers.faulty import make_obedient\n"
        "    from sightsound.pipeline.workers import Limits, WorkerPool\n"
        f"    with WorkerPool(make_obedient, 1, runs_main={runs_main}) as pool:\n"
        "        pool.submit(('add', 1, 2), Limits(stall_s=60, deadline_s=60))\n"
        "        while not (done := list(pool.wait())):\n"
        "            pass\n"
        "    assert done[0].value == 3 and __file__ == __import__('__main__').__file__\n"
    )
    done = subprocess.run(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.stdout.split() == ["run"] * n_runs


def test_bug_in_a_handler_is_a_failed_task_and_the_worker_lives_on(pool):
    outcomes = run(pool, [("pid",), ("pid",)])
    workers = {outcome.value for outcome in outcomes}
    (failed,) = run(pool, [("bug",)])
    assert failed.kind == "failed"
    assert failed.reason == "ValueError: a bug"
    assert {outcome.value for outcome in run(pool, [("pid",), ("pid",)])} == workers


def test_stage_error_crosses_the_process_boundary_whole(pool):
    (failed,) = run(pool, [("stage error",)])
    assert failed.error is not None
    assert (failed.error.stage, failed.error.code) == ("decode", "damaged")
    assert failed.error.message == "It is damaged."


def test_workers_that_cannot_be_made_crash_their_tasks_one_by_one():
    with WorkerPool(make_dying, 1) as pool:
        outcomes = run(pool, ["first", "second"])
    assert [outcome.kind for outcome in outcomes] == ["crashed", "crashed"]
    assert "exit status 3" in outcomes[0].reason


def test_worker_killed_while_idle_costs_nothing(pool):
    run(pool, [("pid",)])
    for worker in pool._workers:
        worker.process.kill()
        worker.process.join()
    assert list(pool.wait()) == []
    (outcome,) = run(pool, [("add", 1, 2)])
    assert outcome.value == 3


MEBIBYTE = 1 << 20


@pytest.fixture
def hungry():
    with WorkerPool(make_hungry, 1, memory_bytes=512 * MEBIBYTE) as pool:
        yield pool


def test_task_within_the_memory_of_a_worker_is_done(hungry):
    (outcome,) = run(hungry, [("take", 128 * MEBIBYTE)])
    assert outcome.value == 1


def test_task_that_needs_more_than_its_worker_may_use_says_so(hungry):
    (outcome,) = run(hungry, [("take", 600 * MEBIBYTE)])
    assert (outcome.kind, outcome.out_of_memory) == ("crashed", True)
    assert outcome.reason == "it needed more than the 0.5 GiB that a worker may use"


def test_what_native_code_says_of_memory_is_understood(hungry):
    (outcome,) = run(hungry, [("native",)])
    assert outcome.out_of_memory


def test_kill_by_the_system_counts_as_want_of_memory(hungry):
    (outcome,) = run(hungry, [("killed",)])
    assert (outcome.kind, outcome.out_of_memory) == ("crashed", True)
    assert "SIGKILL" in outcome.reason


def test_crash_with_memory_to_spare_is_no_want_of_it(pool):
    (outcome,) = run(pool, [("segfault",)])
    assert (outcome.kind, outcome.out_of_memory) == ("crashed", False)


def test_worker_that_ran_out_of_memory_is_replaced(hungry):
    """What it keeps would otherwise fail the tasks after it."""
    (first,) = run(hungry, [("keep", 300 * MEBIBYTE)])
    (failed,) = run(hungry, [("take", 300 * MEBIBYTE)])
    assert failed.out_of_memory
    (again,) = run(hungry, [("take", 300 * MEBIBYTE)])
    assert again.value == 1
    (last,) = run(hungry, [("pid",)])
    assert last.value != first.value


def test_memory_has_no_ceiling_where_none_is_set():
    with WorkerPool(make_hungry, 1) as pool:
        (outcome,) = run(pool, [("take", 600 * MEBIBYTE)])
    assert outcome.value == 1


def test_workers_that_die_while_they_start_end_the_run():
    with WorkerPool(Stillborn(), 1) as pool, pytest.raises(WorkersDieError, match="doctor"):
        run(pool, list(range(10)))


def test_worker_ends_when_its_parent_is_killed_though_it_has_a_task():
    script = (
        "import time; from helpers.faulty import make_obedient\n"
        "from sightsound.pipeline.workers import Limits, WorkerPool\n"
        "if __name__ == '__main__':\n"
        "    pool = WorkerPool(make_obedient, 1)\n"
        "    pool.submit(('hang',), Limits(stall_s=60, deadline_s=60))\n"
        "    print('started', flush=True); time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert parent.stdout is not None and parent.stdout.readline() == b"started\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    parent.kill()
    parent.communicate()
    assert len(children) >= 1
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
