"""``--max-ram``: settings that stay below an amount of memory, or a refusal before any work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.bundles import make_affine, make_manifest, write_bundle, write_image
from helpers.limits import lowest_limit
from hypothesis import given
from hypothesis import strategies as st

import deepseg_lite
from deepseg_lite.errors import OptionError
from deepseg_lite.inference.settings import Settings, make_settings
from deepseg_lite.performance.plan.limit import choices, fit, in_words, parse_size

settings_of_runs = st.builds(
    make_settings,
    accumulator=st.sampled_from(["float32", "float16"]),
    overlap_cases=st.booleans(),
    in_rows=st.booleans(),
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4G", 4 * 2**30),
        ("800M", 800 * 2**20),
        ("1.5g", 3 * 2**29),
        ("512 MiB", 2**29),
        ("1000000", 10**6),
        ("64KB", 2**16),
    ],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "4X", "-1G", "0", "4 4G", "inf", "0.0M"])
def test_what_is_no_size_is_refused_in_one_line(text):
    with pytest.raises(OptionError, match="amount of memory") as refused:
        parse_size(text)
    assert "\n" not in str(refused.value)


def _memory(settings: Settings) -> int:
    """Return an amount that each setting adds to."""
    sums = {"float16": 10, "float32": 20}[settings["accumulator"]]
    return 50 + sums // (2 if settings["in_rows"] else 1) + 30 * settings["overlap_cases"]


@given(settings_of_runs, st.integers(1, 200))
def test_the_choice_stays_below_or_nothing_does(settings, limit):
    able = [chosen for _, chosen in choices(settings) if _memory(chosen) <= limit]
    if able:
        assert fit(settings, limit, _memory)[1] == able[0]
    else:
        with pytest.raises(OptionError, match="at least"):
            fit(settings, limit, _memory)


@given(settings_of_runs)
def test_nothing_is_given_up_where_there_is_room(settings):
    assert fit(settings, 1000, _memory) == ("", settings)


def test_what_changes_voxels_is_given_up_last():
    given_up = [name for name, _ in choices(make_settings())]
    assert given_up[0] == ""
    assert "float16" in given_up[-1]
    assert not any("float16" in name for name in given_up[:-1])


def test_amounts_are_rounded_up():
    assert in_words(2**20 + 1) == "2M"


@pytest.fixture
def big(tmp_path: Path) -> list[object]:
    """Return the options of a run whose sums are a good part of its memory."""
    window = {**make_manifest()["sliding_window"], "patch_size": [32, 64, 64], "overlap": 0.0}
    bundle = write_bundle(tmp_path / "bundle", sliding_window=window)
    data = np.random.default_rng(0).uniform(0.1, 1, (160, 160, 96)).astype(np.float32)
    image = write_image(tmp_path / "big.nii.gz", data, make_affine("RAS", (1.0, 1.0, 1.0)))
    return [bundle, "-i", image, "--device", "cpu", "--threads", "1"]


def test_a_run_that_cannot_stay_below_is_refused_before_any_work(big, command, tmp_path):
    done = command("run", *big, "-o", tmp_path / "out", "--max-ram", "50M")
    assert (done.code, done.out) == (1, "")
    last = done.err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "at least" in last
    assert "50M" in last
    assert not (tmp_path / "out").exists()


def test_a_size_that_is_none_is_an_error_in_one_line(big, command):
    done = command("run", *big, "--max-ram", "much")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: 'much' is no amount of memory")


RUN = """\
import sys
from deepseg_lite.cli.group import cli
from deepseg_lite.machine import peak_memory
cli.main(sys.argv[1:], prog_name="deepseg-lite", standalone_mode=False)
print(peak_memory(), file=sys.stderr)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what is kept of freed memory is glibc's")
def test_a_real_process_stays_below_with_what_it_gave_up_on_record(big, tmp_path):
    bundle, _, image, *_ = big
    limit = lowest_limit(bundle, image)
    arguments = ["run", *big, "-o", tmp_path / "out", "--json", "--max-ram", limit]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    *said, peak = done.stderr.splitlines()
    assert int(peak) <= limit
    assert any("sums in float16" in line for line in said)
    (result,) = json.loads(done.stdout)["results"]
    assert result["Settings"]["half_precision_sums"] is True


def test_with_room_enough_nothing_is_said_and_nothing_changes(big, command, tmp_path):
    command("plan", *big)
    done = command("run", *big, "-o", tmp_path / "out", "--json", "--max-ram", "64G")
    (result,) = json.loads(done.out)["results"]
    assert (done.code, done.err) == (0, "")
    assert result["Settings"]["half_precision_sums"] is False


def test_an_image_that_cannot_be_read_stays_an_error_of_its_own_case(big, command, tmp_path):
    broken = tmp_path / "broken.nii"
    broken.write_bytes(b"x")
    done = command("run", *big, "-i", broken, "-o", tmp_path / "out", "--max-ram", "64G")
    assert "Measuring tiny_threshold" in done.err
    assert done.code == 1
    assert len(done.out.splitlines()) == 1
    assert "broken.nii" in done.err


def test_python_has_it_as_options_of_a_call(tmp_path):
    """What is given up is what the command line gives up; the call takes it."""
    image = write_image(tmp_path / "t2.nii.gz", np.ones((40, 40, 40), np.float32))
    segment = deepseg_lite.load(write_bundle(tmp_path / "bundle"), device="cpu", threads=1)
    options = deepseg_lite.limit_memory(segment, [image], "4G", tta=False, soft=True)
    assert (options["soft"], options["in_rows"], options["accumulator"]) == (True, False, "float32")
    assert segment(image, **options).shape[:3] == (40, 40, 40)
    with pytest.raises(OptionError, match="`max_ram` allows"):
        deepseg_lite.limit_memory(segment, [image], "1M")
