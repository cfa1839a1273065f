"""Workers that die, hang, are stopped or lose their parent: no result is lost, none is orphaned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue

import helpers
import numpy as np
import pytest
from helpers.bad_worker import SLOW_S, SLOW_STEPS
from helpers.bundles import voxels, write_bundle
from helpers.jobs import make_images, make_job

from deepseg_lite.dataset import crew
from deepseg_lite.dataset.crew import Crew, Left, Worker
from deepseg_lite.dataset.job import in_order
from deepseg_lite.dataset.running import run_jobs
from deepseg_lite.dataset.supervisor import supervise
from deepseg_lite.errors import ProviderError
from deepseg_lite.leftovers import _start

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")
TESTS = Path(helpers.__path__[0]).parent
PATIENCE = 60  # seconds until a test that would wait for ever fails


@pytest.fixture
def bad_worker(monkeypatch):
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setattr(crew, "MODULE", "helpers.bad_worker")


@pytest.fixture
def pids(monkeypatch):
    """Return the numbers of the workers that are started."""
    found = []
    start = Worker.__init__

    def note(self, *given):
        start(self, *given)
        found.append(self.pid)

    monkeypatch.setattr(Worker, "__init__", note)
    return found


def is_alive(pid: int) -> bool:
    return _start(pid) not in (None, -1)


def test_two_workers_give_what_one_process_gives(tiny_bundle, tmp_path, pids):
    images = make_images(tmp_path / "in", "abcde")
    second = write_bundle(tmp_path / "second")
    jobs = in_order(make_job(b, image) for image in images for b in (tiny_bundle, second))
    outcomes = list(supervise(jobs, Crew(workers=2, threads=1)))
    assert sorted(o.id for o in outcomes) == sorted(job.id for job in jobs)
    assert {(o.status, o.attempts) for o in outcomes} == {("done", 1)}
    assert len(pids) == 2
    assert not any(map(is_alive, pids))
    found = {job.id: voxels(job.outputs[0]) for job in jobs}
    (tmp_path / "out").rename(tmp_path / "workers")
    assert {o.status for o in run_jobs(jobs)} == {"done"}
    for job in jobs:
        np.testing.assert_array_equal(voxels(job.outputs[0]), found[job.id])


def test_a_worker_that_dies_takes_no_other_case_along(tiny_bundle, tmp_path, bad_worker, pids):
    names = ["a", "kill-always", "b", "segv-always", "kill-once", "c", "exit-always", "d", "e"]
    images = make_images(tmp_path / "in", names)
    logs = {image: str(tmp_path / "logs" / f"{image.name}.txt") for image in images}
    jobs = [make_job(tiny_bundle, image, log=logs[image]) for image in images]
    outcomes = {o.id: o for o in supervise(jobs, Crew(workers=2, threads=1))}
    by_name = {
        image.name.split(".")[0]: outcomes[job.id] for job, image in zip(jobs, images, strict=True)
    }
    assert {name for name, o in by_name.items() if o.status == "done"} == {
        "a",
        "b",
        "c",
        "d",
        "e",
        "kill-once",
    }
    killed, crashed, left = (by_name[f"{deed}-always"] for deed in ("kill", "segv", "exit"))
    assert [(o.signal, o.attempts) for o in (killed, crashed, left)] == [(9, 2), (11, 2), (None, 2)]
    assert by_name["kill-once"].attempts == 2
    assert {by_name[name].attempts for name in "abcde"} == {1}
    assert killed.kind == "OutOfMemoryError"
    assert "max_ram" in killed.error
    assert "SIGSEGV" in crashed.error
    assert "exit code 7" in left.error
    assert all(str(images[0].parent) in o.error for o in (killed, crashed, left))
    assert "SIGKILL" in Path(logs[images[1]]).read_text()
    assert "File " in Path(logs[images[3]]).read_text()  # where it crashed
    assert not any(map(is_alive, pids))
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_only_the_case_under_way_counts_as_tried(tiny_bundle, tmp_path, bad_worker, pids):
    """Where a single try is all there is, those that waited in its process are done still."""
    names = ["a", "kill-always", "b", "c", "segv-always", "d", "e"]
    jobs = [make_job(tiny_bundle, image) for image in make_images(tmp_path / "in", names)]
    outcomes = {o.id: o for o in supervise(jobs, Crew(threads=1, tries=1))}
    found = [(outcomes[job.id].status, outcomes[job.id].attempts) for job in jobs]
    deaths = [("failed" if "always" in name else "done", 1) for name in names]
    assert found == deaths
    assert 3 <= len(pids) <= 5  # one more for each that was read or written at the moment


def test_a_case_that_ends_its_process_as_it_is_read_is_found(tiny_bundle, tmp_path, bad_worker):
    names = ["a", "b", "reading_kill-always", "c", "d"]
    jobs = [make_job(tiny_bundle, image) for image in make_images(tmp_path / "in", names)]
    outcomes = {o.id: o for o in supervise(jobs, Crew(threads=1))}
    found = [(outcomes[job.id].status, outcomes[job.id].signal) for job in jobs]
    assert found == [("failed", 9) if "kill" in name else ("done", None) for name in names]
    assert outcomes[jobs[2].id].attempts == 2


def test_what_a_process_that_died_leaves_behind(tiny_bundle, tmp_path):
    worker = Worker(Crew(threads=1), SimpleQueue())
    try:
        a, b, c, d = (make_job(tiny_bundle, tmp_path / "in" / f"{name}.nii.gz") for name in "abcd")
        for job in (a, b, c, d):
            worker.send(job)
        assert worker.left() == Left([], [], [a, b, c, d])
        for job, step in ((a, "finish"), (b, "predict"), (c, "prepare"), (c, "wait")):
            worker.hear({"step": [job.id, step]})
        assert worker.left() == Left([b], [a], [c, d])
        worker.hear({"step": [b.id, "wait"]})
        assert worker.left() == Left([a], [], [b, c, d])
        worker.forget(a.id)
        assert worker.left() == Left([], [], [b, c, d])
    finally:
        worker.terminate()
        worker.close()


@pytest.mark.parametrize("overlap", [False, True])
def test_a_worker_that_hangs_is_ended(tiny_bundle, tmp_path, bad_worker, overlap):
    """Cases that it had prepared or was writing are done in other processes."""
    last = "b" if overlap else "hang-once"
    images = make_images(tmp_path / "in", ["hang-always", "a", last])
    jobs = [make_job(tiny_bundle, image) for image in images]
    one = Crew(workers=1, threads=1, time_limit=2.0, overlap=overlap)
    hung, good, once = sorted(supervise(jobs, one), key=lambda o: [j.id for j in jobs].index(o.id))
    assert (hung.status, hung.attempts, hung.signal) == ("failed", 2, None)
    assert "no sign of life for 2 s" in hung.error
    assert good.status == once.status == "done"


def test_the_time_limit_is_of_silence_and_not_of_a_case(tiny_bundle, tmp_path, bad_worker, pids):
    """A case that takes longer is done, as its networks tell that they go on."""
    (image,) = make_images(tmp_path / "in", ["slow-always"])
    limit = 5.0
    assert limit < SLOW_STEPS * SLOW_S
    (outcome,) = supervise([make_job(tiny_bundle, image)], Crew(threads=1, time_limit=limit))
    assert (outcome.status, outcome.attempts) == ("done", 1)
    assert len(pids) == 1


def test_the_time_limit_is_not_of_the_start_of_a_process(tiny_bundle, tmp_path):
    """It counts from the first sign of life; the imports before may be slow."""
    heard = SimpleQueue()
    worker = Worker(Crew(threads=1), heard)
    worker.send(make_job(tiny_bundle, tmp_path / "in" / "a.nii.gz"))
    worker.end_if_silent(1e-9)
    assert worker.silent_s is None
    worker.hear({"alive": None})
    worker.end_if_silent(1e-9)
    assert worker.silent_s == 1e-9
    assert worker.close().silent_s == 1e-9


def test_workers_that_never_work_end_the_run(tiny_bundle, tmp_path, monkeypatch, pids):
    monkeypatch.setattr(crew, "MODULE", "helpers.no_such_worker")
    jobs = [
        make_job(tiny_bundle, image) for image in make_images(tmp_path / "in", map(str, range(20)))
    ]
    with pytest.raises(ProviderError, match=r"5 processes died .* exit code 1"):
        list(supervise(jobs, Crew(overlap=False)))
    assert len(pids) == 5


def test_a_stop_ends_the_run_after_the_cases_under_way(tiny_bundle, tmp_path, pids):
    images = make_images(tmp_path / "in", [f"{i:02}" for i in range(30)])
    jobs, found = [make_job(tiny_bundle, image) for image in images], []
    outcomes = supervise(jobs, Crew(workers=2, threads=1), stop=lambda: bool(found))
    found.append(next(outcomes))
    found.extend(outcomes)
    assert {o.status for o in found} == {"done"}
    assert 1 <= len(found) <= 2 * crew.AHEAD
    written = {path.name for path in (tmp_path / "out").glob("*.nii.gz")}
    assert written == {f"{o.id}.nii.gz" for o in found}
    assert not any(map(is_alive, pids))
    rest = list(supervise(jobs, Crew(threads=1)))  # those that are recorded are done
    assert sorted(o.id for o in rest) == sorted(job.id for job in jobs)


def test_whatever_ends_the_iteration_ends_the_workers(tiny_bundle, tmp_path, bad_worker, pids):
    images = make_images(tmp_path / "in", ["a", *(f"hang-{i}" for i in range(4))])
    jobs = [make_job(tiny_bundle, image) for image in images]
    two = Crew(workers=2, threads=1, overlap=False)
    with closing(supervise(jobs, two)) as outcomes:
        assert next(outcomes).status == "done"
    assert len(pids) == 2
    assert not any(map(is_alive, pids))


PARENT = """
import sys
from pathlib import Path
from helpers.jobs import make_job
from deepseg_lite.dataset import crew
from deepseg_lite.dataset.supervisor import supervise
crew.MODULE = "helpers.bad_worker"
start = crew.Worker.__init__
def note(self, *given):
    start(self, *given)
    print(self.pid, flush=True)
crew.Worker.__init__ = note
bundle, *images = map(Path, sys.argv[1:])
two = crew.Crew(workers=2, threads=1, overlap=False)
for outcome in supervise([make_job(bundle, image) for image in images], two):
    print(outcome.id, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_do_not_outlive_their_parent(tiny_bundle, tmp_path, bad_worker, number):
    images = make_images(tmp_path / "in", ["a", "hang-always", "hang-once", "hang-b"])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, tiny_bundle, *images], stdout=subprocess.PIPE, text=True
    )
    with parent:
        lines = [parent.stdout.readline() for _ in range(3)]  # two workers, and one result
        workers = [int(line) for line in lines if line.strip().isdigit()]
        parent.send_signal(number)
    assert len(workers) == 2
    until = time.monotonic() + PATIENCE
    while any(map(is_alive, workers)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(is_alive, workers))
