"""Checkpoints load without running their code, whichever NumPy wrote them."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from deepseg_export.errors import CheckpointError
from deepseg_export.reading.checkpoint import file_sha256, load_checkpoint
from deepseg_export.reading.records import Record

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.export


class Evil:
    """Makes a folder when unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


class EvilExpression:
    """Evaluates an expression when unpickled."""

    def __init__(self, folder: Path) -> None:
        self.expression = f"__import__('os').mkdir({str(folder)!r})"

    def __reduce__(self) -> Any:
        return eval, (self.expression,)


@pytest.fixture
def real_content() -> dict[str, Any]:
    from helpers.nnunet_models import checkpoint_content

    return checkpoint_content({"weight": torch.arange(3.0)}, "2d")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.pth"


def rename_globals(path: Path, old: bytes, new: bytes) -> None:
    """Rewrite the pickle of a checkpoint, where globals are plain lines of text."""
    with zipfile.ZipFile(path) as file:
        members = {item.filename: file.read(item) for item in file.infolist()}
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data.replace(old, new) if name.endswith("data.pkl") else data)


def test_real_content(path, real_content):
    torch.save(real_content, path)
    loaded = load_checkpoint(path)
    assert loaded["network_weights"]["weight"].tolist() == [0, 1, 2]
    assert float(loaded["_best_ema"]) == 0.7
    assert loaded["optimizer_state"]["state"]


@pytest.mark.parametrize(
    "module", [b"numpy.core.multiarray", b"numpy._core.multiarray"], ids=["numpy1", "numpy2"]
)
def test_numbers_of_either_numpy(path, real_content, module):
    torch.save(real_content, path)
    rename_globals(path, b"numpy._core.multiarray", b"numpy.core.multiarray")
    rename_globals(path, b"numpy.core.multiarray", module)
    assert module in zipfile.ZipFile(path).read("checkpoint/data.pkl")
    assert float(load_checkpoint(path)["_best_ema"]) == 0.7


def test_every_plain_number_of_numpy(path):
    import numpy as np

    numbers = [np.bool_(True), *(np.dtype(code).type(3) for code in "bBhHiIlLqQefd")]
    torch.save({"numbers": numbers}, path)
    assert load_checkpoint(path)["numbers"] == numbers


@pytest.mark.parametrize(
    ("kind", "named"), [(Evil, r"(posix|nt)\.mkdir"), (EvilExpression, r"builtins\.eval")]
)
def test_code_is_not_run(path, tmp_path, kind, named):
    torch.save({"network_weights": {}, "logging": kind(tmp_path / "made")}, path)
    assert re.fullmatch(named, repr(load_checkpoint(path)["logging"]))
    assert not (tmp_path / "made").exists()


def test_code_in_the_old_pickle_format_is_not_run(path, tmp_path):
    path.write_bytes(pickle.dumps({"network_weights": Evil(tmp_path / "made")}))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    torch.save({"a": Evil(tmp_path / "made")}, path, _use_new_zipfile_serialization=False)
    assert isinstance(load_checkpoint(path)["a"], Record)
    assert not (tmp_path / "made").exists()


def test_arbitrary_arrays_of_objects_stay_records(path):
    import numpy as np

    torch.save({"logging": np.array([Evil], dtype=object)}, path)
    array = load_checkpoint(path)["logging"]
    assert array.dtype == object
    assert repr(array.item()) == "numpy.ndarray"


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_cut_short(path, real_content, keep):
    torch.save(real_content, path)
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    with pytest.raises(CheckpointError, match="get it again") as refusal:
        load_checkpoint(path)
    assert "\n" not in str(refusal.value)


def test_not_a_checkpoint(path):
    path.write_text("<html>404</html>")
    with pytest.raises(CheckpointError, match="get it again"):
        load_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="holds a list"):
        load_checkpoint(path)


def test_sha256(path):
    path.write_bytes(b"abc" * 1_000_000)
    import hashlib

    assert file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
