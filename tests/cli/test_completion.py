"""Completion, as bash, zsh and fish do it; each is skipped where the shell is not installed."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time

import pytest
from helpers.bundles import write_bundle
from helpers.paths import ROOT

from deepseg_lite.cli.completion import SHELLS, script_of
from deepseg_lite.store.cache import home

pytestmark = pytest.mark.skipif(os.name == "nt", reason="shells of Unix are needed")
PATIENCE_S = 120


@pytest.fixture
def user(tmp_path, monkeypatch):
    """Return the home folder of a user; ``deepseg-lite`` notes in ``words`` what it is given."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    program = tmp_path / "bin" / "deepseg-lite"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nif [ -n "$_DEEPSEG_LITE_COMPLETE" ]; then\n'
        f'    exec "{sys.executable}" -m deepseg_lite\nfi\n'
        f'printf "%s\\n" "$@" > "{tmp_path}/part"\nmv "{tmp_path}/part" "{tmp_path}/words"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "an image.nii.gz").touch()
    return tmp_path


def needs(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    return found


def typed(words: list[str], keys: str, wanted: str, user) -> list[str]:
    """Return the words that the program got after keys, Tab, ``wanted`` on the screen, Return."""
    import pty

    child, terminal = pty.fork()
    if child == 0:
        os.execv(words[0], words)
    try:
        said, end, is_sent = "", time.monotonic() + PATIENCE_S, False
        os.write(terminal, f"PS1=ready'>'\nunset PROMPT\n{keys}\t".encode())
        while not (user / "words").exists():
            assert time.monotonic() < end, said
            if select.select([terminal], [], [], 0.1)[0]:
                said += os.read(terminal, 4096).decode(errors="replace")
            if not is_sent and wanted in said:
                os.write(terminal, b"\n")
                is_sent = True
    finally:
        os.close(terminal)
        os.waitpid(child, 0)
    return (user / "words").read_text().splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ("deepseg-lite inf", ["info"]),
        ("deepseg-lite run seg_lum", ["run", "seg_lumbar_sc_t2w"]),
        ("deepseg-lite run sc_gm_t2star --overw", ["run", "sc_gm_t2star", "--overwrite"]),
        ("deepseg-lite run x --precision int", ["run", "x", "--precision", "int8"]),
        ("deepseg-lite run x -i an", ["run", "x", "-i", "an image.nii.gz"]),
    ],
    ids=["command", "task", "option", "choice", "file"],
)
def test_tab_completes_after_installing(command, user, shell, keys, wanted):
    program = needs(shell)
    assert command("completion", shell, "--install").code == 0
    last = wanted[-1].replace(" ", "\\ ")
    assert typed([program, "-i"], keys, last, user) == wanted


def fish(line: str, path: str) -> list[str]:
    done = subprocess.run(
        [needs("fish"), "-c", f"complete -C '{line}'"], capture_output=True, text=True, check=True
    )
    return [found.split("\t")[0] for found in done.stdout.splitlines()]


def test_fish_completes_after_installing(command, user):
    needs("fish")
    done = command("completion", "fish", "--install")
    assert done.out == f"{user}/.config/fish/completions/deepseg-lite.fish\n"
    assert fish("deepseg-lite run seg_lum", done.out) == ["seg_lumbar_sc_t2w"]
    assert fish("deepseg-lite run x --precision int", done.out) == ["int8"]
    assert "an image.nii.gz" in fish("deepseg-lite run x -i an", done.out)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_printed_and_is_one_of_that_shell(command, shell):
    done = command("completion", shell)
    assert (done.code, done.err, done.out) == (0, "", script_of(shell))
    checked = subprocess.run([needs(shell), "-n"], input=done.out, text=True, check=False)
    assert checked.returncode == 0


def test_installing_twice_changes_the_start_file_once(command, user):
    (user / "dotfiles").write_text("alias a=b")  # without the end of its line
    (user / ".bashrc").symlink_to("dotfiles")
    assert command("completion", "bash", "--install").out.splitlines() == [
        f"{user}/.local/share/deepseg_lite/completion.bash",
        f"{user}/.bashrc",
    ]
    once = (user / "dotfiles").read_text()
    assert once.splitlines()[0] == "alias a=b"
    assert len(once.splitlines()) == 2
    assert command("completion", "bash", "--install").code == 0
    assert (user / "dotfiles").read_text() == once
    assert (user / ".bashrc").is_symlink()


def test_the_shell_is_the_users(command, monkeypatch):
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    assert command("completion").out == script_of("zsh")
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    done = command("completion")
    assert (done.code, done.out) == (2, "")
    assert "the shell is not known; name it: deepseg-lite completion bash|zsh|fish" in done.err


def test_a_start_file_that_cannot_be_changed_is_one_line(command, user):
    (user / ".zshrc").mkdir()
    done = command("completion", "zsh", "--install")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert f"{user}/.zshrc cannot be changed" in done.err
    assert f"have your shell read {user}/.local" in done.err


def suggested(monkeypatch, capfd, words: str) -> list[str]:
    """Return the lines that the program answers bash."""
    from deepseg_lite.cli.group import main

    count = len(words.split()) - (not words.endswith(" "))
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(count))
    monkeypatch.setenv("_DEEPSEG_LITE_COMPLETE", "bash_complete")
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    assert (ended.value.code, err) == (0, "")
    return out.split()


@pytest.mark.parametrize(
    ("words", "some"),
    [
        ("deepseg-lite run sc_gm_t2star -i ", "file,"),
        ("deepseg-lite run x --qc ./", "file,./"),
        ("deepseg-lite run ./bun", "file,./bun"),
        ("deepseg-lite batch in out --task totals", "plain,totalspineseg"),
        ("deepseg-lite fetch seg_lum", "plain,seg_lumbar_sc_t2w"),
        ("deepseg-lite --version inf", "plain,info"),
        ("deepseg-lite -overwrite inf", "plain,info"),
        ("deepseg-lite run -largest x --devi", "plain,--device"),
    ],
)
def test_words_that_are_not_finished_are_no_errors(monkeypatch, capfd, words, some):
    assert suggested(monkeypatch, capfd, words) == [some]


def test_bundles_of_the_cache_are_suggested(monkeypatch, capfd):
    write_bundle(home() / "bundles" / "of_a_friend")
    assert suggested(monkeypatch, capfd, "deepseg-lite run of_") == ["plain,of_a_friend"]
    assert suggested(monkeypatch, capfd, "deepseg-lite remove ") == ["plain,of_a_friend"]


def test_nothing_heavy_is_loaded(user):
    code = (
        "import sys, deepseg_lite.cli.group as g\n"
        "try:\n    g.main()\nexcept SystemExit:\n    pass\n"
        "print(*{'numpy', 'jsonschema', 'onnxruntime', 'nibabel'}.intersection(sys.modules))"
    )
    asked = {"COMP_WORDS": "deepseg-lite run seg_lum", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **asked, "_DEEPSEG_LITE_COMPLETE": "bash_complete"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["plain,seg_lumbar_sc_t2w", ""]
