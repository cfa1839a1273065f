"""Fixtures of the default suite: CPU, no network, neither torch nor onnx."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import hypothesis
import numpy as np
import pytest
from helpers.bundles import make_affine, make_data, write_bundle, write_image

from deepseg_lite.volume import Volume


class Outcome(NamedTuple):
    """What a command line left: exit code and both streams."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]

# Programs started by nohup, or in a shell's background, ignore them, and so would the commands that
# tests send them to.
for _number, _usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _usual)

# How fast a machine is fails no test.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")

# huggingface_hub reads these when it is imported, and other packages import it.
for _name in ("DISABLE_XET", "DISABLE_PROGRESS_BARS", "DISABLE_TELEMETRY"):
    os.environ[f"HF_HUB_{_name}"] = "1"


@pytest.fixture(autouse=True)
def _caches_elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """Keep every test away from this machine's caches, tokens, repositories and proxies."""
    caches = tmp_path_factory.mktemp("caches")
    monkeypatch.setenv("DEEPSEG_LITE_HOME", str(caches / "deepseg_lite"))
    monkeypatch.setenv("HF_HOME", str(caches / "huggingface"))
    monkeypatch.setenv("HF_HUB_VERBOSITY", "error")
    for name in ("REPO", "MIRROR", "LOCK", "OFFLINE", "RELEASES"):
        monkeypatch.delenv(f"DEEPSEG_LITE_{name}", raising=False)
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240229)


@pytest.fixture
def oblique_volume() -> Volume:
    """Return a small oblique, anisotropic volume with a rim of zeros."""
    return Volume.from_array(make_data(), make_affine("LPS"))


@pytest.fixture
def tiny_bundle(tmp_path: Path) -> Path:
    """Return a fresh bundle directory: label 1 where the intensity exceeds 0.5."""
    return write_bundle(tmp_path / "tiny_bundle")


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    """Write a small oblique image in a folder of its own."""
    (tmp_path / "images").mkdir()
    return write_image(tmp_path / "images" / "t2.nii.gz", make_data(), make_affine("LPS"))


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    """Run ``deepseg-lite`` in this process, from its entry point on."""
    from deepseg_lite.cli.group import main

    root, nibabel = logging.getLogger(), logging.getLogger("nibabel.global")
    handlers, levels = root.handlers[:], (root.level, nibabel.level)

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["deepseg-lite", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return Outcome(int(ended.value.code or 0), *capfd.readouterr())

    yield run
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    nibabel.setLevel(levels[1])
