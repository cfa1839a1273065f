"""The recipe of docs/users/clusters.md: Dask workers that a real SLURM starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from helpers.datasets import make_dataset
from helpers.paths import ROOT
from helpers.slurm import slurm, why_not

NAMES = [f"sub-{number:02}/anat/sub-{number:02}_T2w" for number in range(1, 6)]
RECIPE = """\
import sys
import deepseg_lite
from dask_jobqueue import SLURMCluster

with SLURMCluster(
    cores=1, processes=1, memory="1GB", walltime="00:10:00", interface="lo",
    worker_extra_args=["--nthreads", "1"],
) as cluster:
    cluster.adapt(maximum=2)
    for report in deepseg_lite.batch(
        *sys.argv[1:], device="cpu", threads=1, scheduler=cluster.scheduler_address
    ):
        print(report["case"], report["status"])
"""


@pytest.mark.slow
@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_the_recipe_runs_on_a_real_slurm(tmp_path, tiny_bundle):
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue is not installed")
    data, out = make_dataset(tmp_path / "data", *NAMES), tmp_path / "out"
    with slurm(tmp_path / "slurm") as environment:
        path = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, "-c", RECIPE, data, out, tiny_bundle],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": path},
            timeout=500,
            check=False,
        )
        said = [file.read_text() for file in tmp_path.glob("*.out")]
    assert done.returncode == 0, done.stderr + "\n".join(said)
    assert sorted(done.stdout.splitlines()) == [f"{name} done" for name in NAMES]
    assert len(list(out.glob("sub-*/anat/*.nii.gz"))) == len(NAMES)
