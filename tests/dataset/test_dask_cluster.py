"""Jobs on Dask: workers that die, come late or are missing, a scheduler that goes away."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import helpers
import numpy as np
import pytest
from helpers.bundles import voxels, write_bundle
from helpers.jobs import make_images, make_job

from deepseg_lite.dataset.job import in_order
from deepseg_lite.dataset.running import run_jobs
from deepseg_lite.errors import NetworkError, OptionError

pytest.importorskip("distributed")
import dask

from deepseg_lite.dataset import dask_cluster
from deepseg_lite.dataset.dask_cluster import run_on_cluster

pytestmark = [
    pytest.mark.dask,
    # The loops of clients and clusters are closed in threads, after the test or never.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
TESTS = Path(helpers.__path__[0]).parent
PATIENCE = 90  # seconds until a test that would wait for ever fails


@pytest.fixture
def bad_workers(monkeypatch):
    """Have all workers do what the names of images say."""
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__PRELOAD", "helpers.bad_worker")  # of programs
    with dask.config.set({"distributed.worker.preload": ["helpers.bad_worker"]}):
        yield


@pytest.fixture
def start(tmp_path):
    """Start a program of distributed; all end with the test."""
    with ExitStack() as stack:

        def start_one(name, *words):
            log = stack.enter_context((tmp_path / f"{name}.txt").open("a"))
            process = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{name}", *words,
                 "--scheduler-file", str(tmp_path / "scheduler.json")],
                stdout=log, stderr=log,
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        yield start_one


def wait_for(path: Path) -> None:
    until = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_local_cluster_survives_a_case_that_always_kills(tiny_bundle, tmp_path, bad_workers):
    second = write_bundle(tmp_path / "second")
    images = make_images(tmp_path / "in", ["a", "b", "kill-always", "c", "kill-once", "d"])
    jobs = in_order(
        [*(make_job(tiny_bundle, image) for image in images), make_job(second, images[0])]
    )
    outcomes = {o.id: o for o in run_on_cluster(jobs, "local:2", threads=1)}
    assert outcomes.keys() == {job.id for job in jobs}
    failed = {name: o for name, o in outcomes.items() if o.status == "failed"}
    assert list(failed) == ["kill-always_tiny_bundle"]
    (outcome,) = failed.values()
    assert outcome.error.startswith(f"{images[2]}: its worker died each time")
    found = {job.id: voxels(job.outputs[0]) for job in jobs if job.id not in failed}
    (tmp_path / "out").rename(tmp_path / "cluster")
    good = [job for job in jobs if job.id not in failed]
    assert {o.status for o in run_jobs(good)} == {"done"}
    for job in good:
        np.testing.assert_array_equal(voxels(job.outputs[0]), found[job.id])


def test_workers_that_die_or_come_late_and_a_scheduler_that_goes(
    tiny_bundle, tmp_path, bad_workers, start
):
    """All in one test, for the programs take seconds to start."""
    scheduler = start("scheduler", "--port", "0", "--no-dashboard")
    file = tmp_path / "scheduler.json"
    wait_for(file)
    worker = ["--nthreads", "1", "--no-nanny", "--no-dashboard"]
    first = start("worker", *worker)
    images = make_images(tmp_path / "in", ["a", "b", "kill-once", "c", "d"])
    jobs, outcomes = [make_job(tiny_bundle, image) for image in images], []
    for outcome in run_on_cluster(jobs, str(file), threads=1, stop=lambda: False):
        outcomes.append(outcome)
        if len(outcomes) == 1:
            first.wait(PATIENCE)  # it killed itself, or will
            start("worker", *worker)
    assert sorted(o.id for o in outcomes) == sorted(job.id for job in jobs)
    assert {o.status for o in outcomes} == {"done"}

    more = make_images(tmp_path / "more", ["e", "hang-always"])
    outcomes = run_on_cluster([make_job(tiny_bundle, image) for image in more], str(file))
    assert next(outcomes).status == "done"
    scheduler.kill()
    with pytest.raises(NetworkError, match="is gone; 1 cases are open"):
        next(outcomes)


def test_a_stop_leaves_what_no_worker_runs(tiny_bundle, tmp_path):
    images = make_images(tmp_path / "in", [f"{i:02}" for i in range(40)])
    jobs, found = [make_job(tiny_bundle, image) for image in images], []
    outcomes = run_on_cluster(jobs, "local:1", threads=1, stop=lambda: bool(found))
    found.append(next(outcomes))
    found.extend(outcomes)
    assert 1 <= len(found) < len(jobs)
    written = {path.name.partition(".")[0] for path in (tmp_path / "out").glob("*.nii.gz")}
    assert {o.id for o in found} <= written


def test_what_is_no_scheduler_or_has_no_workers_is_told(tiny_bundle, tmp_path, start, monkeypatch):
    jobs = [make_job(tiny_bundle, image) for image in make_images(tmp_path / "in", "a")]
    with pytest.raises(OptionError, match="neither an address nor a file"):
        list(run_on_cluster(jobs, "local:0"))
    monkeypatch.setattr(dask_cluster, "CONNECT_S", 0.5)
    with pytest.raises(NetworkError, match="cannot be reached"):
        list(run_on_cluster(jobs, "tcp://127.0.0.1:1"))
    monkeypatch.undo()
    start("scheduler", "--port", "0", "--no-dashboard")
    wait_for(tmp_path / "scheduler.json")
    with pytest.raises(NetworkError, match="had no workers"):
        list(run_on_cluster(jobs, str(tmp_path / "scheduler.json"), patience_s=0.1))
