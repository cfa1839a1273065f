"""Signals while a command is at work: it cleans up, and its exit code says why (fault 22)."""

from __future__ import annotations

import os
import signal

import pytest
from helpers.bundles import write_bundle

from deepseg_lite import atomic
from deepseg_lite.engines.onnxruntime_network import OnnxNetwork

ENDED = {"SIGTERM": 143, "SIGHUP": 129, "SIGINT": 1}


@pytest.mark.parametrize("moment", ["predicting", "writing", "placing"])
@pytest.mark.parametrize("name", ENDED)
def test_a_signal_leaves_nothing(
    command, tmp_path, tiny_bundle, image_file, monkeypatch, name, moment
):
    holder, call = {
        "predicting": (OnnxNetwork, "__call__"),
        "writing": (atomic, "_sync"),
        "placing": (os, "link"),
    }[moment]
    real = getattr(holder, call)

    def send(*given):
        os.kill(os.getpid(), getattr(signal, name))
        return real(*given)

    handlers = [signal.getsignal(getattr(signal, one)) for one in ENDED]
    (tmp_path / "out").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(holder, call, send)
        words = ["run", tiny_bundle, "-i", image_file, "-o", tmp_path / "out", "--device", "cpu"]
        done = command(*words)
    assert done.code == ENDED[name]
    assert done.out == ""
    assert "Traceback" not in done.err
    assert list((tmp_path / "out").iterdir()) == []
    assert [signal.getsignal(getattr(signal, one)) for one in ENDED] == handlers


def test_commands_leave_no_handler_behind(command, tmp_path):
    """The store's once did, in the process of a caller."""
    before = signal.getsignal(signal.SIGTERM)
    write_bundle(tmp_path / "bundle")
    assert command("remove", "nowhere").code == 1
    assert command("fetch", "nowhere", "--offline").code == 1
    assert signal.getsignal(signal.SIGTERM) is before
