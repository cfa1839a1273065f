"""Official releases: downloaded and converted in a process of its own, here by a stand-in."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.bundles import write_bundle
from helpers.detector import write_detector
from helpers.hub import HubServer
from helpers.official import STAND_IN, offer, read_until, start

import deepseg_lite
from deepseg_lite.errors import (
    BundleError,
    BundleNotFoundError,
    ChecksumError,
    ConversionError,
    NetworkError,
    OptionError,
    OutputError,
)
from deepseg_lite.store import conversion
from deepseg_lite.store.cache import home
from deepseg_lite.store.fetch import fetch
from deepseg_lite.store.official import SC_CROP, find_official

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no such signals")

SCI, SCI_PLACE = "seg_sc_lesion_t2w_sci", "seg_sc_lesion_t2w_sci/r20240729"
OLDER = "r20240130"
TUMOR, TUMOR_PLACE = "tumor_t2", "tumor_t2/r20201215"
CORD, CORD_PLACE = "seg_sc_contrast_agnostic", "seg_sc_contrast_agnostic/v4.0"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Stand in for the exporter, and for the servers of the releases."""
    monkeypatch.syspath_prepend(str(STAND_IN))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(STAND_IN), *os.sys.path]))
    with HubServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("DEEPSEG_LITE_RELEASES", f"{server.url}/mirror")
        yield server
        server.shutdown()


@pytest.fixture
def sci(server: HubServer, tmp_path: Path) -> Path:
    """Serve the release of a task of one model; return the bundle that it becomes."""
    made = write_bundle(tmp_path / "made" / SCI, name=SCI)
    offer(server, SCI_PLACE, made)
    return made


def left() -> list[str]:
    """Return what is in the cache of bundles, working folders too."""
    folder = home() / "bundles"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_from_nothing_to_a_mask_in_two_commands(sci, command, image_file):
    missing = command("run", "lesion_sci_t2", "-i", image_file)
    assert missing.code == 1
    words = missing.err.strip().partition("to get it: ")[2].split()
    assert words == ["deepseg-lite", "fetch", SCI]
    fetched = command(*words[1:])
    assert (fetched.code, fetched.out.strip()) == (0, str(home() / "bundles" / SCI))
    done = command("run", "lesion_sci_t2", "-i", image_file)
    assert done.code == 0, done.err
    assert Path(done.out.strip().splitlines()[-1]).is_file()
    assert left() == [SCI]


def test_what_is_done_is_told_line_by_line(server, sci, command):
    fetched = command("fetch", "lesion_sci_t2")
    license, download, conversion, warning = fetched.err.splitlines()
    url = "https://github.com/ivadomed/model_seg_sci/releases/download/r20240729/"
    assert license.startswith(f"{SCI} r20240729: licence MIT, {url}")
    assert download == f"Downloading {server.url}/mirror/{SCI_PLACE}/bundles.zip"
    assert conversion == f"Converting {SCI}"
    assert warning == "the catalogue expected something else"


def test_the_report_says_where_it_came_from(sci, command):
    (result,) = json.loads(command("fetch", "lesion_sci_t2", "--json").out)["results"]
    assert (result["name"], result["fetched"]) == (SCI, True)
    assert result["source"]["release"] == "r20240729"
    assert result["source"]["url"].startswith("https://github.com/ivadomed/model_seg_sci/")
    (again,) = json.loads(command("fetch", SCI, "--json").out)["results"]
    assert again == {**result, "fetched": False}


def test_python_gets_the_same_with_progress(sci):
    seen, told = [], []
    found = deepseg_lite.fetch(
        "lesion_sci_t2", progress=lambda *b: seen.append(b), begins=told.append
    )
    assert (found.bundle.name, found.fetched) == (SCI, True)
    done, total = seen[-1]
    assert done == total
    assert told[-1] == f"Converting {SCI}"
    assert not deepseg_lite.fetch(SCI).fetched


def test_another_release_has_a_bundle_of_its_own(server, tmp_path, command):
    name = f"{SCI}-{OLDER}"
    offer(server, f"{SCI}/{OLDER}", write_bundle(tmp_path / name, name=name, version=OLDER))
    assert command("fetch", "lesion_sci_t2", "--release", OLDER).code == 0
    assert left() == [name]
    assert fetch(name).fetched is False


def test_what_is_known_comes_first(server, sci, monkeypatch):
    """A mirror, of the options or the environment, and no release where that lacks the bundle."""
    monkeypatch.setenv("STAND_IN", "fail('ConversionError', 'nobody should have asked')")
    with pytest.raises(BundleNotFoundError, match="is not there"):
        fetch(SCI, mirror=f"{server.url}/mirror/other")
    for file in sci.iterdir():
        server.mirror[f"bundles/{SCI}/{file.name}"] = file.read_bytes()
    monkeypatch.setenv("DEEPSEG_LITE_MIRROR", f"{server.url}/mirror/bundles")
    assert "mirror" in fetch(SCI).source
    monkeypatch.delenv("DEEPSEG_LITE_MIRROR")
    assert not fetch(SCI).fetched


def test_other_steps_come_along(server, tmp_path):
    first = write_bundle(tmp_path / f"{TUMOR}.cord", name=f"{TUMOR}.cord")
    manifest = {
        "name": TUMOR,
        "prior": {"bundle": first.name, "channels": ["t1"]},
        "preprocessing": [{"step": "crop_to_prior", "safety_factor": [1.0, 1.0, 1.0]}],
    }
    offer(server, TUMOR_PLACE, write_bundle(tmp_path / TUMOR, "channels", **manifest), first)
    listed = []
    fetch(TUMOR, yes=True, listed=lambda all_: listed.extend(each.bundle.name for each in all_))
    assert listed == left() == [TUMOR, first.name]
    deepseg_lite.store.cache.remove(first.name)
    assert not fetch(TUMOR, yes=True).fetched
    assert left() == [TUMOR, first.name]


@pytest.fixture
def cropped(server: HubServer, tmp_path: Path) -> None:
    """Serve a model of cropped images, and what finds the cord."""
    crop = {"detector": "sc_crop", "padding_mm": dict.fromkeys(
        ("superior", "inferior", "left", "right", "anterior", "posterior"), 1.0
    )}  # fmt: skip
    offer(server, CORD_PLACE, write_bundle(tmp_path / CORD, name=CORD, cord_crop=crop))
    offer(
        server, f"sc_crop/{SC_CROP.version}", write_detector(tmp_path / "sc_crop", name="sc_crop")
    )


def test_what_finds_the_cord_comes_along(cropped, command):
    done = command("fetch", "spinalcord", "--yes")
    assert done.code == 0, done.err
    assert left() == ["sc_crop", CORD]
    deepseg_lite.store.cache.remove("sc_crop")
    assert command("fetch", "sc_crop", "--yes").code == 0
    assert left() == ["sc_crop", CORD]


def test_both_licences_are_asked_about_before_anything_comes(server, cropped):
    questions = []
    assert fetch("spinalcord", confirm=lambda text: not questions.append(text)).fetched
    assert questions == ["The licence of sc_crop v0.0.11 is not stated. Download it all the same?"]
    assert left() == ["sc_crop", CORD]


@pytest.mark.parametrize("answer", [None, False], ids=["nobody to ask", "refused"])
def test_a_licence_that_was_not_agreed_to(server, command, answer):
    if answer is None:
        done = command("fetch", TUMOR)
        assert done.code == 1
        assert "tumor_t2 r20201215: licence none stated" in done.err.splitlines()[0]
        assert done.err.splitlines()[-1].endswith("then give --yes.")
    else:
        with pytest.raises(OptionError, match="not downloaded, as you did not agree"):
            fetch(TUMOR, confirm=lambda _: False)
    assert server.requests == []
    assert left() == []


@pytest.mark.parametrize(
    ("goes_wrong", "kind", "message"),
    [
        ("fail('OutputError', 'the disk is full.')", OutputError, r"^the disk is full\.$"),
        ("fail('UnsupportedError', 'no such layer.')", ConversionError, r"^no such layer\.$"),
        ("fail('Option', 'what?')", ConversionError, r"^what\?$"),
        ("crash(signal.SIGKILL)", ConversionError, r"was ended by SIGKILL; nothing was installed"),
        ("crash(signal.SIGTERM)", ConversionError, r"was ended by SIGTERM; nothing"),
        ("sys.exit('error: a\\nb\\nerror: why')", ConversionError, r"exit code 1 \(why\)"),
        ("1 / 0", ConversionError, r"exit code 1 \(ZeroDivisionError: division by zero\)"),
        ("os._exit(0)", BundleNotFoundError, "manifest.json does not exist"),
    ],
)
def test_how_a_conversion_fails_is_one_line(sci, command, monkeypatch, goes_wrong, kind, message):
    monkeypatch.setenv("STAND_IN", goes_wrong)
    with pytest.raises(kind, match=message):
        fetch(SCI)
    done = command("fetch", SCI)
    assert done.code == 1
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) == 5
    assert left() == []


def test_debug_shows_what_the_process_said(sci, command, monkeypatch):
    monkeypatch.setenv("STAND_IN", "1 / 0")
    assert 'File "<string>", line 1' in command("fetch", SCI, "--debug").err


def test_a_bundle_that_is_not_the_catalogues_is_refused(server, tmp_path):
    offer(server, SCI_PLACE, write_bundle(tmp_path / SCI, name="another"))
    with pytest.raises(BundleError, match="calls itself another"):
        fetch(SCI)
    made = write_bundle(tmp_path / "wrong" / SCI, name=SCI)
    (made / "threshold_3d.onnx").write_bytes(b"\0" * (made / "threshold_3d.onnx").stat().st_size)
    offer(server, SCI_PLACE, made)
    with pytest.raises(ChecksumError):
        fetch(SCI)
    assert left() == []


def test_a_lock_decides(sci, tmp_path, monkeypatch):
    entry = {"version": "1.0", "manifest_sha256": "0" * 64, "source": {}}
    (tmp_path / "lock").write_text(json.dumps({"schema": 1, "bundles": {SCI: entry}}))
    monkeypatch.setenv("DEEPSEG_LITE_LOCK", str(tmp_path / "lock"))
    with pytest.raises(ChecksumError, match=r"deepseg-lite\.lock says 000"):
        fetch(SCI)
    assert left() == []


def test_nothing_is_asked_for_where_the_network_is_forbidden(server, sci, monkeypatch):
    with pytest.raises(NetworkError, match="needs the network, which `offline`"):
        fetch(SCI, offline=True)
    monkeypatch.setenv("DEEPSEG_LITE_OFFLINE", "1")
    with pytest.raises(NetworkError, match="DEEPSEG_LITE_OFFLINE"):
        fetch(SCI)
    assert server.requests == []


def test_no_network_is_one_line(server, command):
    done = command("fetch", SCI)
    assert done.code == 1
    assert done.err.splitlines()[-1].endswith(f"{SCI_PLACE}/bundles.zip does not exist.")


def test_missing_packages_are_named_with_the_command_that_installs_them(command, monkeypatch):
    monkeypatch.setattr(conversion, "find_spec", lambda name: name != "onnx" or None)
    done = command("fetch", "lesion_sci_t2")
    assert done.code == 1
    assert done.err == (
        f"error: converting {SCI} r20240729 needs onnx: pip install "
        '"deepseg-lite[convert]". Or give a --repo or --mirror that has its bundle.\n'
    )


def test_what_cannot_be_converted_says_why(command):
    done = command("fetch", "spine", "--release", "r20241115")
    assert done.code == 1
    assert "found levels in another way" in done.err
    assert "no place to fetch it from is known" in command("fetch", "unheard_of").err
    assert find_official("sc_gm_t2star") is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_both_processes_and_leaves_nothing(sci, number):
    process = start("fetch", SCI, STAND_IN="gate('/nowhere')")
    child = int(read_until(process, "waiting "))
    process.send_signal(number)
    out, _ = process.communicate()
    assert process.returncode == (1 if number == signal.SIGINT else 128 + number)
    assert out == ""
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert left() == []


def test_a_child_that_is_killed_leaves_nothing(sci):
    process = start("fetch", SCI, STAND_IN="gate('/nowhere')")
    os.kill(int(read_until(process, "waiting ")), signal.SIGKILL)
    _, err = process.communicate()
    assert process.returncode == 1
    assert "was ended by SIGKILL" in err.splitlines()[-1]
    assert left() == []


def test_a_parent_that_is_killed_takes_its_child_along(sci, monkeypatch):
    """What they leave goes with the next look at the cache."""
    process = start("fetch", SCI, STAND_IN="gate('/nowhere')")
    child = int(read_until(process, "waiting "))
    ended = os.pidfd_open(child) if hasattr(os, "pidfd_open") else None
    process.kill()
    process.communicate()
    if ended is not None:
        import select

        select.select([ended], [], [])
        os.close(ended)
    assert len(left()) == 1
    assert fetch(SCI).fetched
    assert left() == [SCI]


def test_a_full_disk_is_one_line(sci):
    """Files may not grow beyond what the system allows here, as on a full disk."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        process = start("fetch", SCI)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    _, err = process.communicate()
    assert process.returncode == 1
    assert "cannot be written: File too large" in err.splitlines()[-1]
    assert left() == []


def test_two_at_once_convert_once(server, sci, tmp_path):
    gate = tmp_path / "gate"
    first = start("fetch", SCI, STAND_IN=f"gate({str(gate)!r})")
    read_until(first, "waiting ")
    second = start("fetch", "lesion_sci_t2")
    assert read_until(second, "Waiting for another process").startswith(", which fetches")
    gate.touch()
    outs = [process.communicate()[0] for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert outs == [f"{home() / 'bundles' / SCI}\n"] * 2
    assert len(server.requests) == 1
    assert left() == [SCI]


def test_catalogue_names_lead_to_their_releases():
    assert find_official(SCI).version == "r20240729"
    assert find_official(f"{SCI}-{OLDER}").words == ("task", SCI, "--release", OLDER)
    assert find_official(f"{TUMOR}.cord").bundle == TUMOR
    assert find_official("totalspineseg.step2").bundle == "totalspineseg"
    assert find_official(f"{TUMOR}.other") is None
