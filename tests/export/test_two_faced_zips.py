"""Fault 7: files that torch's zip reader and Python's see differently never reach torch."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deepseg_export
import pytest
from click.testing import CliRunner
from deepseg_export.cli.group import cli
from deepseg_export.errors import CheckpointError
from deepseg_export.reading.checkpoint import load_checkpoint, read_saved
from helpers.two_faced_zips import members_of, with_two_directories, write_script

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "written by a script"


@pytest.fixture
def hide(tmp_path: Path, marker: Path) -> Callable[..., None]:
    """Hide a TorchScript program behind what a file holds, and prove that torch would run it."""

    def change(path: Path, garbage: bytes = b"") -> None:
        hidden = members_of(write_script(tmp_path / "script.pt", marker).read_bytes())
        path.write_bytes(with_two_directories(members_of(path.read_bytes()), hidden, garbage))
        torch.jit.load(path)
        assert marker.exists()
        marker.unlink()

    return change


def _ivadomed(folder: Path) -> tuple[Path, list[str]]:
    from helpers.ivadomed_models import make_settings, make_unet, write_model

    write_model(folder, make_settings(), make_unet())
    return folder / f"{folder.name}.pt", ["ivadomed", str(folder)]


def _nnunet(folder: Path) -> tuple[Path, list[str]]:
    from helpers.nnunet_models import write_model

    model = write_model(folder)
    return model / "fold_0" / "checkpoint_final.pth", ["nnunet", str(model)]


def _lightning(folder: Path) -> tuple[Path, list[str]]:
    folder.mkdir()
    torch.save({"state_dict": {"net.weight": torch.ones(2)}}, folder / "model.ckpt")
    return folder / "model.ckpt", ["monai-ckpt", str(folder / "model.ckpt")]


def _bundle(folder: Path) -> tuple[Path, list[str]]:
    pytest.importorskip("monai")
    from helpers.monai_models import ZOO, write_bundle

    write_bundle(folder, next(iter(ZOO.values()))())
    return folder / "models" / "model.pt", ["monai-bundle", str(folder)]


@pytest.mark.parametrize("write", [_ivadomed, _nnunet, _lightning, _bundle])
@pytest.mark.parametrize("garbage", [b"", b"garbage"])
def test_a_hidden_script_does_not_run(tmp_path, marker, hide, write, garbage):
    """Fault 7: one line, and nothing is written."""
    file, command = write(tmp_path / "model")
    hide(file, garbage)
    result = CliRunner().invoke(cli, [*command, "-o", str(tmp_path / "out")])
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert "belong to no member" in line
    assert not marker.exists()
    assert not (tmp_path / "out").exists()


def test_a_plain_script_does_not_run(tmp_path, marker):
    script = write_script(tmp_path / "model.pth", marker)
    with pytest.raises(CheckpointError, match="TorchScript"):
        load_checkpoint(script)
    assert read_saved(script).name.startswith("__torch__.")
    assert not marker.exists()


def test_torch_never_sees_a_file(tmp_path, monkeypatch):
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a file reached torch")

    torch.save({"a": torch.arange(3.0)}, tmp_path / "new.pth")
    torch.save({"a": torch.arange(3.0)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    monkeypatch.setattr(torch, "load", refuse)
    monkeypatch.setattr(torch.jit, "load", refuse)
    for name in ("new.pth", "old.pth"):
        assert load_checkpoint(tmp_path / name)["a"].tolist() == [0, 1, 2]


def test_files_of_strangers_are_parsed_in_one_package():
    """Fault 7: no other module of the exporter knows a loader or a parser."""
    root = Path(deepseg_export.__file__).parent
    found = set()
    for file in root.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names]
                modules = {getattr(node, "module", None), *names}
                found |= {(file, m) for m in modules & {"pickle", "zipfile", "tarfile", "yaml"}}
            if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                *("torch.load", "torch.jit.load", "json.loads", "json.load"),
                *("torch.serialization", "torch.package"),
            ):
                found.add((file, ast.unparse(node)))
    outside = {(file.relative_to(root).as_posix(), name) for file, name in found}
    assert not {name for _, name in outside if name.startswith("torch")}
    outside = {(file, name) for file, name in outside if not file.startswith("reading/")}
    own = {"tasks/pins.py", "references/kept.py"}  # read what this software wrote itself
    assert outside == {(file, "json.loads") for file in own}
