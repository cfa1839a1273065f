"""A job array on a real SLURM: the printed script, a job that is cancelled, the same again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.datasets import make_dataset
from helpers.paths import ROOT
from helpers.slurm import slurm, why_not

NAMES = [f"sub-{number:02}/anat/sub-{number:02}_T2w" for number in range(1, 8)]


@pytest.mark.slow
@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_an_array_does_each_case_once_and_what_was_left_when_repeated(tmp_path, tiny_bundle):
    data, out = make_dataset(tmp_path / "data", *NAMES), tmp_path / "out"
    command = tmp_path / "bin" / "deepseg-lite"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m deepseg_lite "$@"\n')
    command.chmod(0o755)
    words = ["batch", data, out, "--task", tiny_bundle, "--device", "cpu", "--threads", "1"]

    with slurm(tmp_path / "slurm") as environment:
        path = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
        environment |= {
            "PATH": os.pathsep.join([str(command.parent), environment["PATH"]]),
            "PYTHONPATH": path,
        }

        def run(*given: object) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [str(word) for word in given],
                capture_output=True,
                text=True,
                env=environment,
                cwd=tmp_path,
                check=False,
            )

        script = run("deepseg-lite", *words, "--sbatch", 3)
        assert script.returncode == 0, script.stderr
        (tmp_path / "array.sh").write_text(script.stdout)
        first = run("sbatch", "--wait", "--array=1-2", "array.sh")  # as if the third never came
        assert first.returncode == 0, first.stderr + said(tmp_path)
        half = {path.name[:6] for path in out.glob("sub-*/anat/*.nii.gz")}
        assert len(half) == 7  # two jobs are the whole of their array

        (out / "sub-03").rename(tmp_path / "lost")
        (out / "sub-05").rename(tmp_path / "lost-too")
        before = {path: path.stat().st_mtime_ns for path in out.glob("sub-*/anat/*.nii.gz")}
        again = run("sbatch", "--wait", "array.sh")
        assert again.returncode == 0, again.stderr + said(tmp_path)
        assert len(list(out.glob("sub-*/anat/*.nii.gz"))) == 7
        assert {path: path.stat().st_mtime_ns for path in before} == before
    parts = [path.read_text() for path in sorted(tmp_path.glob("slurm-*_[123].out"))]
    assert len(parts) == 5
    status = subprocess.run(
        [sys.executable, "-m", "deepseg_lite", *map(str, words), "--status"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert "done 7" in status.stdout


def said(folder: Path) -> str:
    """Return what the jobs said."""
    return "\n".join(path.read_text() for path in folder.glob("slurm-*.out"))
