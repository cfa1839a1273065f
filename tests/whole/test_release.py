"""What is released: the same bytes from the same files, true metadata, types for others."""

from __future__ import annotations

import email
import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest
from helpers.built import Built, build, build_here
from helpers.paths import ROOT

RECIPE = ROOT / "recipe" / "recipe.yaml"
EXAMPLE = ROOT / "tests" / "data" / "consumer.py"
LICENCES = {"MIT", "CC0-1.0"}  # of the software, and of the model in the wheel
TOP = {
    "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "PKG-INFO", "README.md",
    "SECURITY.md", "deepseg_lite", "export", "hatch_build.py", "models", "pyproject.toml",
    ".gitignore",
}  # fmt: skip

pytestmark = pytest.mark.wheel


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    return build_here(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """Return the folder of an environment that has the wheel, and sees this one's packages."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    (site,) = folder.glob("lib/python3.*/site-packages")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", site,
         built.wheel], check=True,
    )  # fmt: skip
    others = [p for p in sys.path if p.endswith("site-packages")]
    (site / "others.pth").write_text("\n".join(others), encoding="utf-8")
    return folder


def _hashes(built: Built) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in (built.sdist, built.wheel)]


def _metadata(built: Built) -> email.message.Message:
    return email.message_from_string(built.metadata)


def test_the_same_files_give_the_same_bytes(built, tmp_path):
    copy = tmp_path / "elsewhere" / "a copy"
    copy.mkdir(parents=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    before = os.umask(0o077)
    try:
        for name in filter(None, listed.stdout.split("\0")):
            if name.partition("/")[0] in TOP:
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                (copy / name).write_bytes((ROOT / name).read_bytes())
                os.utime(copy / name, (1e9, 1e9))
    finally:
        os.umask(before)
    assert _hashes(build(copy, tmp_path / "umask", umask=0o077)) == _hashes(built)
    first = build(copy, tmp_path / "date", date=1_700_000_000)
    assert _hashes(first) != _hashes(built)  # the date of a release is that of its commit
    os.utime(copy / "README.md")
    again = build(copy, tmp_path / "again", umask=0o027, date=1_700_000_000)
    assert _hashes(again) == _hashes(first)


def test_the_sdist_has_what_builds_the_wheel_and_nothing_else(built):
    with tarfile.open(built.sdist) as archive:
        names = [member.name.partition("/")[2] for member in archive.getmembers()]
    assert {name.partition("/")[0] for name in names} == TOP
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


def test_the_licences_are_those_of_what_is_inside(built):
    manifest = ROOT / "models" / "sc_gm_t2star" / "bundle" / "manifest.json"
    model = json.loads(manifest.read_text(encoding="utf-8"))["source"]["license"]
    found = _metadata(built)["License-Expression"]
    assert set(found.split(" AND ")) == LICENCES == {"MIT", model}


def test_the_python_versions_are_those_that_the_workflow_tests(built):
    yaml = pytest.importorskip("yaml", reason="reading workflows needs PyYAML")
    tests = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8"))
    tested = tests["jobs"]["tests"]["strategy"]["matrix"]["python"]
    classifiers = _metadata(built).get_all("Classifier")
    prefix = "Programming Language :: Python :: "
    named = [c.removeprefix(prefix) for c in classifiers if c.startswith(prefix)]
    assert named == ["3", *tested]
    assert _metadata(built)["Requires-Python"] == f">={tested[0]}"


def test_the_long_description_leads_nowhere_that_is_not_there(built):
    text = _metadata(built).get_payload()
    assert text.startswith("# deepseg_lite\n")
    assert re.findall(r"\]\((?!https://)[^)]*\)", text) == []
    assert "![" not in text
    assert "| [`" not in text
    assert "| `totalspineseg` |" in text


def _needed_by(recipe: str) -> list[str]:
    """Return what conda installs with the package, as rattler-build reads the recipe."""
    rattler_build = pytest.importorskip("rattler_build", reason="recipes need py-rattler-build")
    (variant,) = rattler_build.Stage0Recipe.from_yaml(recipe).render(rattler_build.VariantConfig())
    return variant.recipe.requirements.run


def test_the_recipe_of_conda_needs_what_the_package_needs():
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    listed = re.findall(r"^(?:dependencies|cpu) = \[(.*?)\]$", text, re.DOTALL | re.MULTILINE)
    assert len(listed) == 2
    asked = {name.partition(";")[0] for part in listed for name in re.findall(r'"([^"]+)"', part)}
    python, *needed = _needed_by(RECIPE.read_text("utf-8"))
    assert f'requires-python = "{python.removeprefix("python ")}"' in text
    assert {name.replace(" ", "") for name in needed} == asked


@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("requirements:", "requires:"),
        ("noarch: python", "noarch: snake"),
        ("imports:", "import:"),
        ("${{ name }}", "${{ title }}"),
        ("MIT AND CC0-1.0", "MIT AND nothing"),
    ],
)
def test_a_wrong_recipe_of_conda_is_refused(written: str, wrong: str):
    text = RECIPE.read_text("utf-8")
    assert _needed_by(text)
    with pytest.raises(Exception, match=r"invalid|undefined|SPDX"):
        _needed_by(text.replace(written, wrong, 1))


def test_the_versions_agree():
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "version.py"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_tag_that_is_not_the_version_is_refused():
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "version.py", "v9.9.9"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "the tag: 9.9.9" in done.stderr


def test_the_sbom_has_what_the_package_needs(installed, tmp_path):
    pytest.importorskip("cyclonedx_py", reason="an SBOM is made by cyclonedx-bom")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    file = tmp_path / "sbom.json"
    subprocess.run(
        [ROOT / ".ci" / "sbom", installed / "bin" / "python", file],
        check=True,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
    )
    text = file.read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    sbom = json.loads(text)
    assert sbom["metadata"]["component"]["name"] == "deepseg-lite"
    parts = {part["name"].lower() for part in sbom["components"]}
    assert {"click", "jsonschema", "nibabel", "numpy", "onnxruntime", "scipy"} <= parts
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str('{"bomFormat": 1}') is not None


def test_twine_finds_nothing(built):
    pytest.importorskip("twine", reason="checking the metadata needs twine")
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", built.sdist, built.wheel],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_a_program_on_the_installed_wheel_passes_mypy_strict(installed, tmp_path):
    pytest.importorskip("mypy", reason="types are checked by mypy")
    program = tmp_path / "program.py"
    program.write_bytes(EXAMPLE.read_bytes())
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", os.devnull,
               "--cache-dir", tmp_path / "cache", "--python-executable",
               installed / "bin" / "python", program]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MYPYPATH")}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
