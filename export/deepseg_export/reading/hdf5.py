"""HDF5 files of Keras 2, read in a process of its own: the library behind h5py is C.

What is read are the arrays that the file's own lists name, and the text of the architecture.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepseg_export.errors import CheckpointError
from deepseg_export.reading.limits import check_file, check_tree

MAX_BYTES = 2**30
SECONDS = 120


@dataclass(frozen=True)
class KerasFile:
    """Content of a file.

    Attributes
    ----------
    layers : dict of str to list of array
        Arrays of each layer in the file's order; none for a layer without any.
    config : dict or None
        Architecture, where the file has it.
    """

    layers: Mapping[str, list[np.ndarray]]
    config: Mapping[str, Any] | None


def read_hdf5(path: Path) -> KerasFile:
    """Read a file of weights, or of a whole model.

    Raises
    ------
    CheckpointError
        If it is damaged, hostile, beyond a limit, or not of Keras 2.
    """
    check_file(path, MAX_BYTES, "an HDF5 file")
    with tempfile.TemporaryDirectory() as folder:
        content = Path(folder, "content.npz")
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "HDF5_PLUGIN_PRELOAD": "::",  # no filter is looked for outside the library
            "HDF5_USE_FILE_LOCKING": "FALSE",
        }
        program = "deepseg_export.reading.hdf5_process"
        command = [sys.executable, "-m", program, str(path.absolute()), str(content)]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                env=environment,
                timeout=SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            raise CheckpointError(
                f"{path} takes more than {SECONDS} seconds to read; get it again."
            ) from error
        if done.returncode:
            raise CheckpointError(f"{path} cannot be read: {_reason(done)}; get it again.")
        with np.load(content, allow_pickle=False) as arrays:
            index = json.loads(bytes(arrays["index"]))
            layers = {name: [arrays[key] for key in keys] for name, keys in index["layers"]}
    config = _parsed(index["config"], path)
    return KerasFile(layers, config)


def _reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """Return why the process ended without a result."""
    text = done.stderr.decode("utf-8", "replace").strip().splitlines()
    if done.returncode < 0 or not text:
        return "it is damaged, and ended the program that reads it"
    return " ".join(text[-1].split())[:150].rstrip(".")


def _parsed(text: str | None, path: Path) -> Mapping[str, Any] | None:
    if text is None:
        return None
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: model_config is no JSON; get it again.") from error
    check_tree(config, path)
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: model_config is no JSON object; get it again.")
    return config
