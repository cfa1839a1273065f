"""Packages: duplicates, versions and what cannot be loaded, each made for real."""

from __future__ import annotations

import re
from importlib import metadata

import pytest
from helpers.paths import ROOT

from deepseg_lite.doctor import probe, software
from deepseg_lite.doctor.finding import NOTE, OK, PROBLEM
from deepseg_lite.doctor.probe import ask
from deepseg_lite.doctor.software import Installed, known_versions
from deepseg_lite.versions import fits, parse_requirement


def add_package(folder, name, version, files=()):
    """Write what pip writes of an installed package, and its files, which are empty."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    for file in files:  # from Python 3.12 on, a file that is not there does not count
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


def test_a_healthy_environment_has_no_problem():
    checks = (
        software.check_python,
        software.check_requirements,
        software.check_duplicates,
        software.check_known,
        software.check_loading,
    )
    found = [each for check in checks for each in check()]
    assert [each for each in found if each.level == PROBLEM] == []
    told = {each.name: each.text for each in found}
    for name in ("numpy", "scipy", "nibabel", "jsonschema"):
        assert told[name] == metadata.version(name)
    assert not {"pytest", "hypothesis"} & set(told)


@pytest.mark.parametrize("other", ["onnxruntime-gpu", "onnxruntime-unheard-of"])
def test_two_builds_of_onnx_runtime_are_a_problem(tmp_path, monkeypatch, other):
    pytest.importorskip("onnxruntime")
    add_package(tmp_path, other, "1.25.0", ["onnxruntime/__init__.py"])
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = software.check_duplicates()
    assert (found.level, found.name) == (PROBLEM, "ONNX Runtime")
    assert f"onnxruntime and {other} are both installed" in found.text
    assert f"pip uninstall -y onnxruntime {other}," in found.cure


def test_what_only_begins_like_onnx_runtime_is_no_build_of_it(tmp_path, monkeypatch):
    add_package(tmp_path, "onnxruntime-extensions", "0.9", ["onnxruntime_extensions/__init__.py"])
    monkeypatch.syspath_prepend(tmp_path)
    assert list(software.check_duplicates()) == []


def test_two_versions_in_one_folder_are_a_problem_and_in_two_a_note(tmp_path, monkeypatch):
    add_package(tmp_path, "left-over", "1.0")
    add_package(tmp_path, "left-over", "1.1")
    add_package(tmp_path, "numpy", "1.2.3")
    used = metadata.version("numpy")
    monkeypatch.syspath_prepend(tmp_path)
    found = {each.name: each for each in software.check_duplicates()}
    assert found["left-over"].level == PROBLEM
    assert "pip uninstall -y left-over" in found["left-over"].cure
    assert found["numpy"].level == NOTE
    assert f"1.2.3 of {tmp_path} hides {used}" in found["numpy"].text


def test_a_broken_record_of_a_package_ends_nothing(tmp_path, monkeypatch):
    (tmp_path / "nameless-1.0.dist-info").mkdir()
    (tmp_path / "empty-1.0.dist-info").mkdir()
    (tmp_path / "empty-1.0.dist-info" / "METADATA").write_bytes(b"\xff\x00")
    monkeypatch.syspath_prepend(tmp_path)
    assert "numpy" in {each.name for each in software.installed_packages()}
    (found,) = software.check_duplicates()
    assert (found.level, found.name) == (NOTE, "packages")
    assert str(tmp_path) in found.text


def test_a_version_that_is_too_old_is_a_problem(tmp_path, monkeypatch):
    add_package(tmp_path, "scipy", "1.2")
    monkeypatch.syspath_prepend(tmp_path)
    found = {each.name: each for each in software.check_requirements()}
    assert found["scipy"].level == PROBLEM
    assert re.fullmatch(r"1\.2, and >=[\d.]+ is needed", found["scipy"].text)
    assert found["scipy"].cure.startswith('Run pip install "scipy>=')
    assert found["numpy"].level == OK


def test_a_package_that_is_missing_is_a_problem(monkeypatch):
    monkeypatch.setattr(software, "_requirements", lambda: [("never-made", ">=3", "")])
    (found,) = software.check_requirements()
    assert (found.level, found.text) == (PROBLEM, "is not installed")
    assert found.cure == 'Run pip install "never-made>=3".'


def test_without_a_record_of_its_own_this_package_is_a_problem(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    monkeypatch.setattr(metadata, "requires", absent)
    _, found = software.check_python()
    assert (found.level, found.name) == (PROBLEM, "deepseg-lite")
    assert {each.name for each in software.check_requirements()} >= {"numpy", "scipy"}


@pytest.mark.parametrize("entry", known_versions(), ids=lambda entry: entry["packages"][0])
def test_a_known_version_is_found_by_its_number(entry):
    version = re.sub(r"[^\d.]", "", entry["versions"].split(",")[0])
    bad = Installed(entry["packages"][0], version, "", is_runtime=False)
    good = Installed(bad.name, "99.0", "", is_runtime=False)
    (found,) = software.check_known([bad, good])
    assert (found.level, found.name) == (entry["level"], bad.name)
    assert entry["source"] in found.text
    assert found.cure == f'Run pip install "{bad.name}!={version}".'


@pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="not in a checkout")
def test_every_version_that_is_left_out_is_known_with_its_reason():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    excluded = set(re.findall(r'"([\w-]+)[^"]*!=([\d.]+)"', text))
    assert excluded
    known = {
        (name, entry["versions"].removeprefix("=="))
        for entry in known_versions()
        for name in entry["packages"]
        if entry["level"] == PROBLEM
    }
    assert excluded <= known


BREAKING = {
    "raises": ("raise ImportError('it is\\nbroken')", "ImportError: it is\\nbroken"),
    "is killed": ("import os; os.kill(os.getpid(), 11)", "was ended by SIGSEGV"),
    "ends": ("import os; os._exit(7)", "ended with code 7"),
    "lacks": ("import never_made", "No module named 'never_made'"),
}


@pytest.mark.parametrize("how", BREAKING)
def test_a_package_that_cannot_be_loaded_is_a_problem(tmp_path, monkeypatch, how):
    code, said = BREAKING[how]
    (tmp_path / "nibabel").mkdir()
    (tmp_path / "nibabel" / "__init__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    (found,) = software.check_loading()
    assert (found.level, found.name) == (PROBLEM, "nibabel")
    assert said in found.text
    assert found.cure == "Run pip install --force-reinstall nibabel."


def test_what_never_ends_is_ended(tmp_path, monkeypatch):
    (tmp_path / "endless.py").write_text("import time\ntime.sleep(600)")
    monkeypatch.setattr(probe, "PATIENCE_S", 1.0)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    assert ask("packages", "endless")["error"].endswith("came to no end in 1 s")


@pytest.mark.parametrize(
    ("version", "allowed", "is_right"),
    [
        ("1.24.1", ">=1.19,!=1.24.1", False),
        ("1.24.1.post1", "!=1.24.1", False),
        ("1.24", "==1.24.0", True),
        ("1.25.3", "==1.25.*", True),
        ("1.26", "==1.25.*", False),
        ("0.5.1", ">=0.4,<0.5", False),
        ("1.6.9", "~=1.6.1", True),
        ("1.7", "~=1.6.1", False),
        ("2.13.0+cpu", ">=2.6", True),
        ("2!1.0", ">=1", True),
        ("unknown", ">=1", False),
        ("3", "", True),
    ],
)
def test_versions_are_compared_by_their_numbers(version, allowed, is_right):
    assert fits(version, allowed) is is_right


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("numpy>=1.24", ("numpy", ">=1.24", "")),
        ("Huggingface_Hub (>=0.36)", ("huggingface-hub", ">=0.36", "")),
        ("x[a,b]<2; extra == 'cpu'", ("x", "<2", "extra == 'cpu'")),
        ("tomli", ("tomli", "", "")),
    ],
)
def test_requirements_are_read(text, parts):
    assert parse_requirement(text) == parts
