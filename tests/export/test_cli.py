"""The deepseg-export command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from deepseg_export import exporting
from deepseg_export.cli.group import cli
from deepseg_export.families.nnunet import Options
from deepseg_export.tasks import everything
from deepseg_export.tasks import export as exports
from helpers.click_runner import invoke

from deepseg_lite.cli.console import progress_bar

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("dynamic_network_architectures")
pytestmark = pytest.mark.export


def run(*arguments: Any) -> Result:
    return invoke(cli, arguments)


def test_prints_the_written_path_alone_on_stdout(make_model, tmp_path):
    output = tmp_path / "bundle"
    result = run("nnunet", make_model(), "-o", output, "--name", "mine", "--folds", "0")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{output}\n"
    assert "Converting fold 0" in result.stderr
    assert '"name": "mine"' in (output / "manifest.json").read_text()


def test_options_reach_the_export(monkeypatch, tmp_path):
    seen: list[Any] = []

    def export(family, model, output, options, *, reference, force):
        assert reference is None
        seen.extend([family, model, output, options, force])
        return output

    monkeypatch.setattr(exporting, "export_model", export)
    arguments = {
        "--folds": "0, 1",
        "--checkpoint": "c.pth",
        "--name": "n",
        "--release": "r",
        "--license": "l",
        "--citation": "c",
        "--url": "u",
        "--orientation": "RAS",
    }
    flat = [part for pair in arguments.items() for part in pair]
    result = run("nnunet", "m", "-o", "b", *flat, "--force")
    assert result.exit_code == 0, result.output
    *given, options, force = seen
    assert (*given, force) == ("nnunet", Path("m"), Path("b"), True)
    assert options == Options(
        folds=["0", "1"],
        checkpoint="c.pth",
        name="n",
        release="r",
        license="l",
        citation="c",
        urls=("u",),
        orientation="RAS",
    )


def test_archives_follow_from(monkeypatch):
    seen: list[Any] = []

    def export(name, output, *, release, supply, choices, force):
        seen.extend([name, output, release, supply, choices, force])
        return "somewhere"

    monkeypatch.setattr(exports, "export_task", export)
    result = run(
        *("task", "tiny", "--release", "r2", "--from", "a.zip", "b.zip", "c.zip", "-o", "out"),
        *("--mirror", "http://m", "--offline", "--keep-downloads", "--repin", "--force"),
        *("--folds", "0", "--checkpoint", "c", "--orientation", "RAS", "--check", "torch"),
    )
    assert (result.exit_code, result.stdout) == (0, "somewhere\n"), result.output
    paths = tuple(map(Path, ("a.zip", "b.zip", "c.zip")))
    assert seen == [
        "tiny",
        Path("out"),
        "r2",
        exports.Supply(
            paths, "http://m", offline=True, keep_downloads=True, repin=True, progress=progress_bar
        ),
        {
            "folds": ["0"],
            "checkpoint": "c",
            "orientation": "RAS",
            "check_torch": True,
            "with_torch": False,
        },
        True,
    ]


def test_archives_without_from_are_wrong_usage():
    result = run("task", "tiny", "a.zip")
    assert result.exit_code == 2
    assert "a.zip is one argument too many; archives go after --from" in result.stderr


@pytest.mark.parametrize(("failed", "code"), [(False, 0), (True, 1)])
def test_all_ends_with_a_table_on_stdout(monkeypatch, failed, code):
    outcomes = [
        everything.Outcome("a_long_name", "r1", "/some/where", path="direct"),
        everything.Outcome("b", "version2", "failed: x", failed=failed),
    ]
    monkeypatch.setattr(everything, "export_all", lambda *_, **__: outcomes)
    result = run("all", "-o", "out")
    assert result.exit_code == code, result.output
    assert result.stdout.splitlines() == [
        "TASK         RELEASE   PATH    RESULT",
        "a_long_name  r1        direct  /some/where",
        "b            version2  -       failed: x",
    ]


def test_errors_are_one_line_and_exit_code_1(tmp_path):
    result = run("nnunet", tmp_path / "nowhere", "-o", tmp_path / "bundle")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"error: {tmp_path / 'nowhere'} does not exist; a model folder or a zip of one is needed.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_verbose_shows_the_traceback(tmp_path):
    result = run("nnunet", tmp_path / "nowhere", "-o", tmp_path / "bundle", "-v")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr


def test_wrong_usage_is_exit_code_2():
    assert run("nnunet", "model").exit_code == 2
    assert run("nnunet", "model", "-o", "x", "--nonsense").exit_code == 2


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("nnunet", ("--folds", "--orientation", "--force")),
        ("ivadomed", ("--url", "--force")),
        ("monai-ckpt", ("--sct", "--soft")),
        ("monai-bundle", ("--license", "--citation")),
        ("task", ("--release", "--from", "--mirror", "--repin", "--keep-downloads", "--offline")),
        ("all", ("--from", "--mirror", "--force")),
        ("cord-detector", ("--from", "--mirror", "--offline")),
    ],
)
def test_help_loads_nothing_heavy(command, options):
    # None makes an import fail, also where the environment itself has loaded the package.
    code = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'numpy', 'onnxruntime', 'nibabel', 'jsonschema'):\n"
        "    sys.modules[name] = None\n"
        "from deepseg_export.cli.group import cli\n"
        f"cli(['{command}', '-h'], standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for option in options:
        assert option in done.stdout
