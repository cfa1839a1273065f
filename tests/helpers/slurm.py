"""A SLURM of one node on loopback, started for a test from the programs of this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "sinfo", "scancel")
PATIENCE = 60  # seconds until it is no use to wait
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str | None:
    """Return why SLURM cannot be started here; None if it can."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    missing = [name for name in PROGRAMS if shutil.which(name, path=path) is None]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: slurmctld, slurmd, munge)"
    return None if hasattr(os, "geteuid") and os.geteuid() == 0 else "root alone can start SLURM"


@contextmanager
def slurm(folder: Path) -> Iterator[dict[str, str]]:
    """Start SLURM, and give the environment for its commands; it ends with the block."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    file = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    cpus = len(os.sched_getaffinity(0))
    file.write_text(CONFIGURATION.format(host=host, folder=folder, ports=_free_ports(), cpus=cpus))
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    environment = {**os.environ, "SLURM_CONF": str(file), "PATH": path}
    munged = ["munged", "--foreground", "--force", f"--key-file={key}"]
    munged += [f"--{name}={folder}/munge.{end}" for name, end in MUNGE_FILES.items()]
    daemons = [munged, ["slurmctld", "-D", "-f", file], ["slurmd", "-D", "-f", file]]
    with ExitStack() as stack:
        for words in daemons:
            log = stack.enter_context((folder / f"{words[0]}.out").open("w"))
            daemon = subprocess.Popen(words, stdout=log, stderr=log, env=environment)
            stack.callback(daemon.wait)
            stack.callback(daemon.terminate)
        until = time.monotonic() + PATIENCE
        while "idle" not in _output(["sinfo", "-h", "-o", "%t"], environment):
            assert time.monotonic() < until, (folder / "slurmctld.out").read_text()
            time.sleep(0.2)
        yield environment


MUNGE_FILES = {
    "socket": "socket",
    "pid-file": "pid",
    "log-file": "log",
    "seed-file": "seed",
}


def _output(words: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(
        words, capture_output=True, text=True, env=environment, check=False
    ).stdout


def _free_ports() -> list[int]:
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.socket()) for _ in range(2)]
        for each in opened:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in opened]
