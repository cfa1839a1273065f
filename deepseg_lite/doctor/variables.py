"""Variables of the environment that change what runs do."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping

from deepseg_lite.doctor.finding import Finding, note, ok
from deepseg_lite.store.addresses import masked

OURS = {
    "DEEPSEG_LITE_HOME": "where models are kept",
    "DEEPSEG_LITE_REPO": "where fetch looks first",
    "DEEPSEG_LITE_MIRROR": "where fetch looks after that",
    "DEEPSEG_LITE_RELEASES": "where archives of official releases are looked for first",
    "DEEPSEG_LITE_OFFLINE": "forbids the network",
    "DEEPSEG_LITE_LOCK": "which models may run",
    "DEEPSEG_LITE_OVERWRITE": "replaces results without --overwrite",
    "DEEPSEG_LITE_NIIVUE": "script that pages of quality control show slices with",
    "DEEPSEG_LITE_FSYNC": "0 leaves it to the system when results are on the disk",
}
"""Variables of this package, and what each does."""
OTHERS = {
    "OMP_NUM_THREADS": "threads of libraries, not of networks",
    "OPENBLAS_NUM_THREADS": "threads of numpy",
    "MKL_NUM_THREADS": "threads of numpy with MKL",
    "OMP_PROC_BIND": "binds threads to CPUs",
    "GOMP_CPU_AFFINITY": "binds threads to CPUs",
    "KMP_AFFINITY": "binds threads to CPUs",
    "CUDA_VISIBLE_DEVICES": "which GPUs are seen",
    "ORT_DISABLE_TELEMETRY": "0 lets ONNX Runtime report what it runs",
    "HF_HOME": "where huggingface_hub keeps files",
    "HF_ENDPOINT": "where the Hugging Face Hub is",
    "HF_HUB_OFFLINE": "forbids the network",
    "HTTP_PROXY": "proxy of downloads",
    "HTTPS_PROXY": "proxy of downloads",
    "ALL_PROXY": "proxy of downloads",
    "SSL_CERT_FILE": "certificates of downloads",
    "LD_LIBRARY_PATH": "libraries that are loaded first",
    "LD_PRELOAD": "libraries that are loaded first",
    "PYTHONPATH": "modules that are loaded first",
    "PYTHONHOME": "where Python's own modules are",
    "TMPDIR": "where temporary files are",
    "SLURM_CPUS_PER_TASK": "CPUs that the queue gave",
    "SLURM_MEM_PER_NODE": "memory that the queue gave, in MB",
    "SLURM_MEM_PER_CPU": "memory that the queue gave for each CPU, in MB",
}
"""Variables of others that matter here."""
_PREFIX = "DEEPSEG_LITE_"


def check_variables(environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Say which variables are set, without passwords, and name those that are misspelled."""
    for name, meaning in {**OURS, **OTHERS}.items():
        if value := environment.get(name) or environment.get(name.lower()):
            yield ok(name, f"{_shown(value)} ({meaning})")
    for name in sorted(environment):
        if name.startswith(_PREFIX) and name not in OURS:
            close = difflib.get_close_matches(name, OURS, n=1, cutoff=0)
            yield note(
                name,
                "is no variable of deepseg-lite, so it has no effect",
                f"Did you mean {close[0]}? Else unset it.",
            )


def _shown(value: str) -> str:
    """Return a value without the secrets of an address."""
    return masked(value) if "://" in value or "@" in value else value
