"""Kits: packed from local wheels, checked file by file, unpacked into a cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.bundles import write_bundle
from helpers.paths import ROOT

from deepseg_lite.errors import BundleNotFoundError, OptionError, OutputError
from deepseg_lite.kit import packing, wheels
from deepseg_lite.kit.bundles import bundles_for
from deepseg_lite.kit.install import Refused, check_kit
from deepseg_lite.kit.packing import Target, pack
from deepseg_lite.kit.unpacking import unpack
from deepseg_lite.store.cache import home

HERE = Target(platforms=(), python=None, extras=("cpu",))
NAME = "tiny_threshold"
WHEEL = "deepseg_lite-9.9-py3-none-any.whl"


def write_wheel(folder: Path, name: str, *requirements: str) -> Path:
    """Write a wheel without modules."""
    package, version, _ = name.split("-", 2)
    lines = ["Provides-Extra: cpu\n", *(f"Requires-Dist: {each}\n" for each in requirements)]
    with zipfile.ZipFile(folder / name, "w") as archive:
        info = f"{package}-{version}.dist-info"
        archive.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n{''.join(lines)}\n",
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return folder / name


@pytest.fixture
def index(tmp_path, monkeypatch):
    """Return a folder of wheels that is all that pip finds."""
    pytest.importorskip("pip")
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def wheel(tmp_path):
    return write_wheel(tmp_path, WHEEL, "needed>=1; extra == 'cpu'")


@pytest.fixture
def kit(tmp_path, index, wheel):
    """Return a kit with one model of the cache."""
    write_wheel(index, "needed-1.5-py3-none-any.whl")
    write_bundle(home() / "bundles" / NAME)
    pack(tmp_path / "kit", [NAME], HERE, wheel=wheel)
    return tmp_path / "kit"


def files_of(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_kit_has_wheels_models_and_the_hash_of_every_file(kit):
    networks = {f"bundles/{NAME}/{p.name}" for p in (home() / "bundles" / NAME).glob("*.onnx")}
    assert files_of(kit) >= {
        *("README.md", "SHA256SUMS", "install.py", "kit.json", f"wheels/{WHEEL}"),
        *("wheels/needed-1.5-py3-none-any.whl", f"bundles/{NAME}/manifest.json", *networks),
    }
    told = check_kit(kit)
    assert told["requirement"] == "deepseg-lite[cpu]==9.9"
    assert told["python"] == f"{sys.version_info[0]}.{sys.version_info[1]}"
    manifest = (kit / "bundles" / NAME / "manifest.json").read_bytes()
    ((entry),) = told["bundles"]
    assert entry["manifest_sha256"] == hashlib.sha256(manifest).hexdigest()


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="sha256sum is not installed")
def test_the_hashes_are_in_the_form_of_sha256sum(kit):
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=kit, capture_output=True)
    assert done.returncode == 0


def test_the_script_of_a_kit_runs_where_this_package_is_not(kit, tmp_path):
    command = [sys.executable, "-I", "-S", kit / "install.py", "--venv", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {tmp_path} is there already; name another with --venv.\n"


def damage(kit: Path, how: str) -> str:
    """Damage a kit, and return the name of the file."""
    name = f"bundles/{NAME}/manifest.json"
    if how == "changed":
        (kit / name).write_bytes((kit / name).read_bytes() + b" ")
    elif how == "missing":
        (kit / name).unlink()
    elif how == "linked":
        (kit / name).rename(kit.parent / "elsewhere")
        (kit / name).symlink_to(kit.parent / "elsewhere")
    elif how == "added":
        name = "wheels/evil-1.0-py3-none-any.whl"
        (kit / name).touch()
    elif how == "sums":
        name = "SHA256SUMS"
        (kit / name).write_text(f"{'0' * 64}  ../outside\n")
    else:
        name = "SHA256SUMS"
        (kit / name).unlink()
    return name


@pytest.mark.parametrize("how", ["changed", "missing", "linked", "added", "sums", "no sums"])
def test_a_damaged_kit_is_refused_in_one_line_and_installs_nothing(command, kit, tmp_path, how):
    name = damage(kit, how)
    shutil.rmtree(home())
    done = command("unpack", kit)
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert name in done.err
    assert not (home() / "bundles").exists()
    script = [sys.executable, kit / "install.py", "--venv", tmp_path / "env"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert name in done.stderr
    assert not (tmp_path / "env").exists()


def test_unpacking_brings_the_models_with_their_origin(command, kit):
    shutil.rmtree(home())
    done = command("unpack", kit)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{home() / 'bundles' / NAME}\n"
    source = json.loads((home() / "bundles" / NAME / "source.json").read_text())
    assert source["kit"] is True
    assert source["manifest_sha256"] == check_kit(kit)["bundles"][0]["manifest_sha256"]
    assert files_of(kit) >= {f"bundles/{NAME}/manifest.json"}
    assert command("unpack", kit).code == 0


def test_a_kit_without_further_models_says_so(command, tmp_path, index, wheel):
    write_wheel(index, "needed-1.5-py3-none-any.whl")
    pack(tmp_path / "kit", [], HERE, wheel=wheel)
    done = command("unpack", tmp_path / "kit")
    assert (done.code, done.out) == (0, "")
    assert done.err == "The kit is whole; its only model is the one in the package.\n"


def test_another_model_of_that_name_stays_until_repin(command, kit):
    manifest = home() / "bundles" / NAME / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    done = command("unpack", kit)
    assert (done.code, done.out) == (1, "")
    assert "give --repin" in done.err
    assert command("unpack", kit, "--repin").code == 0
    assert manifest.read_bytes() == (kit / "bundles" / NAME / "manifest.json").read_bytes()


def test_a_manifest_that_is_none_of_a_bundle_is_refused_though_its_hash_is_right(kit):
    shutil.rmtree(home())
    path = kit / "bundles" / NAME / "manifest.json"
    path.write_text("{}")
    told = json.loads((kit / "kit.json").read_text())
    told["bundles"][0]["manifest_sha256"] = hashlib.sha256(b"{}").hexdigest()
    (kit / "kit.json").write_text(json.dumps(told))
    names = sorted(files_of(kit) - {"SHA256SUMS"})
    sums = [f"{hashlib.sha256((kit / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    (kit / "SHA256SUMS").write_text("".join(sums))
    with pytest.raises(ValueError, match=NAME):
        unpack(kit)
    assert not (home() / "bundles" / NAME).exists()


@pytest.mark.parametrize("key", ["python", "system"])
def test_a_kit_for_another_computer_is_refused_there(kit, monkeypatch, key):
    from deepseg_lite.kit.install import check_computer

    check_computer(check_kit(kit))
    with pytest.raises(Refused, match=r"the kit is for (Python )?other and this is "):
        check_computer({**check_kit(kit), key: "other"})


def test_steps_and_detectors_come_along_and_shipped_models_do_not():
    write_bundle(home() / "bundles" / NAME)
    assert [each.name for each in bundles_for([NAME, "sc_gm_t2star", NAME])] == [NAME]
    with pytest.raises(BundleNotFoundError, match="deepseg-lite fetch totalspineseg"):
        bundles_for(["totalspineseg"])


def with_license(license):
    folder = write_bundle(home() / "bundles" / NAME)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["source"]["license"] = license
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_model_that_may_not_be_passed_on_needs_a_yes(tmp_path, index, wheel):
    write_wheel(index, "needed-1.5-py3-none-any.whl")
    with_license(None)
    with pytest.raises(OptionError, match=r"none stated.*give `yes`"):
        pack(tmp_path / "kit", [NAME], HERE, wheel=wheel)
    assert not (tmp_path / "kit").exists()
    pack(tmp_path / "kit", [NAME], HERE, wheel=wheel, yes=True)
    assert check_kit(tmp_path / "kit")["bundles"]


@pytest.mark.parametrize("how", ["failing", "interrupted"])
def test_what_ends_early_leaves_nothing(tmp_path, index, wheel, monkeypatch, how):
    (tmp_path / "into").mkdir()
    if how == "interrupted":

        def stop(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(packing, "_write_texts", stop)
        write_wheel(index, "needed-1.5-py3-none-any.whl")
    said = {"failing": "OptionError: pip finds no wheel of needed", "interrupted": "Keyboard"}[how]
    with pytest.raises((OptionError, KeyboardInterrupt)) as raised:
        pack(tmp_path / "into" / "kit", [], HERE, wheel=wheel)
    assert said in raised.exconly()
    assert list((tmp_path / "into").iterdir()) == []


def test_an_extra_that_there_is_not_is_refused(tmp_path, index, wheel):
    target = Target(platforms=(), python=None, extras=("cpuu",))
    with pytest.raises(OptionError, match="there is no extra cpuu; there are cpu"):
        pack(tmp_path / "kit", [], target, wheel=wheel)


def test_what_is_there_stays(tmp_path, wheel):
    (tmp_path / "kit").write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        pack(tmp_path / "kit", [], HERE, wheel=wheel)
    assert (tmp_path / "kit").read_text() == "mine"


def test_another_system_gets_what_only_it_needs(tmp_path, index):
    wheel = write_wheel(
        tmp_path, WHEEL, "only-there; platform_system == 'Elsewhere'", "never; sys_platform == 'x'"
    )
    write_wheel(index, "only_there-1.0-py3-none-any.whl", "deeper; python_version < '3'")
    write_wheel(index, "deeper-1.0-py3-none-any.whl")
    target = Target(platforms=("win_amd64",), python="3.12", extras=())
    told = pack(tmp_path / "kit", [], target, wheel=wheel)
    assert (told["system"], told["python"]) == ("windows amd64", "3.12")
    names = {path.name.split("-")[0] for path in (tmp_path / "kit" / "wheels").iterdir()}
    assert names == {"deepseg_lite", "only_there", "deeper"}


def test_wheels_of_older_systems_are_taken(tmp_path, index, wheel):
    write_wheel(index, "needed-1.5-cp312-cp312-manylinux2014_x86_64.whl")
    target = Target(platforms=("manylinux_2_28_x86_64",), python="3.12", extras=("cpu",))
    assert pack(tmp_path / "kit", [], target, wheel=wheel)["system"] == "linux x86_64"


def test_versions_are_those_that_are_installed(tmp_path, index):
    wheel = write_wheel(tmp_path, WHEEL, "click")
    here = metadata.version("click")
    write_wheel(index, f"click-{here}-py3-none-any.whl")
    write_wheel(index, "click-99.0-py3-none-any.whl")
    pack(tmp_path / "kit", [], Target(platforms=(), python=None, extras=()), wheel=wheel)
    assert (tmp_path / "kit" / "wheels" / f"click-{here}-py3-none-any.whl").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--platform", "solaris"], "a tag of wheels is needed"),
        (["--platform", "win_amd64", "--platform", "linux_x86_64"], "a kit is for one system"),
        (["--python", "4"], "a version such as 3.11 is needed"),
        (["--wheel", "no.whl"], "is no wheel of deepseg-lite"),
        (["--task", "never_made"], "never_made is not on this machine"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_cannot_be_packed_is_one_line(command, tmp_path, options, said):
    done = command("pack", tmp_path / "kit", *options)
    assert done.code == 1
    assert said in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    assert not (tmp_path / "kit").exists()


def test_the_wheel_of_an_installed_package_is_what_was_installed(tmp_path):
    found = metadata.distribution("click")
    made = wheels.wheel_of(found, tmp_path)
    assert made.name == f"click-{found.version}-py3-none-any.whl"
    with zipfile.ZipFile(made) as archive:
        names = set(archive.namelist())
        init = archive.read("click/__init__.py")
    assert f"click-{found.version}.dist-info/RECORD" in names
    assert not [name for name in names if "__pycache__" in name or "INSTALLER" in name]
    assert init == Path(str(found.locate_file("click/__init__.py"))).read_bytes()


class WithoutTests(metadata.PathDistribution):
    """Installed package without its own tests: two fifths of what pip would compile."""

    def __init__(self, found: metadata.Distribution) -> None:
        super().__init__(found._path)

    @property
    def files(self):
        return [file for file in super().files or () if "tests" not in file.parts]


STORED = SimpleNamespace(ZipFile=zipfile.ZipFile, ZIP_DEFLATED=zipfile.ZIP_STORED)


@pytest.mark.wheel
@pytest.mark.skipif(sys.platform != "linux", reason="pip's wheels of this system are packed again")
def test_a_kit_installs_and_segments_where_there_is_no_network(tmp_path, index, monkeypatch):
    """Everything is packed again from what is installed here, so this test needs no network."""
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    with monkeypatch.context() as uncompressed:
        uncompressed.setattr(wheels, "zipfile", STORED)
        for name in ("onnxruntime", *wheels_needed("deepseg-lite", "cpu")):
            wheels.wheel_of(WithoutTests(metadata.distribution(name)), index)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    write_bundle(home() / "bundles" / NAME)
    pack(tmp_path / "kit", [NAME], HERE, wheel=wheel)

    variables = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "http_proxy": "127.0.0.1:9"}
    base = os.path.realpath(sys.executable)
    script = [base, tmp_path / "kit" / "install.py", "--venv", tmp_path / "env"]
    done = subprocess.run(script, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    program = done.stdout.strip()
    for words in (["phantom", "ph.nii.gz"], ["run", "sc_gm_t2star", "-i", "ph.nii.gz"]):
        subprocess.run([program, *words], env=variables, cwd=tmp_path, check=True)
    assert (tmp_path / "ph_seg.nii.gz").is_file()
    assert (tmp_path / ".cache" / "deepseg_lite" / "bundles" / NAME / "manifest.json").is_file()


def wheels_needed(package: str, extra: str = "") -> set[str]:
    """Return the packages that one needs, with all that they need, as they are installed here."""
    from deepseg_lite.versions import parse_requirement

    found: set[str] = set()
    left = [line for line in metadata.requires(package) or [] if "extra" not in line]
    left += metadata.requires("onnxruntime") or []
    while left:
        name, _, marker = parse_requirement(left.pop())
        if name not in found and "extra" not in marker:
            try:
                left += metadata.requires(name) or []
            except metadata.PackageNotFoundError:  # of another system
                continue
            found.add(name)
    return found
