"""Streams: what a file holds, whatever its pieces, members and reads are (faults 5, 15, 16)."""

from __future__ import annotations

import bz2
import gzip
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepseg_lite.errors import ImageError
from deepseg_lite.nifti.checks import check_finite
from deepseg_lite.nifti.streams import PIECE, Stream

PACKERS = {None: bytes, "gzip": gzip.compress, "bzip2": bz2.compress}


@pytest.mark.parametrize("compression", PACKERS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    members=st.lists(st.binary(max_size=400) | st.just(bytes(PIECE + 5)), min_size=1, max_size=6),
    reads=st.lists(st.integers(0, 500), max_size=8),
    skips=st.integers(0, 3000),
)
def test_any_reads_give_what_any_members_hold(tmp_path, compression, members, reads, skips):
    members = [b"x" + members[0], *members[1:]]  # something that is no mark of a compression
    (tmp_path / "a").write_bytes(b"".join(map(PACKERS[compression], members)))
    content = b"".join(members)
    with Stream(tmp_path / "a") as stream:
        assert stream.compression == compression
        place = 0
        for count in reads:
            assert stream.read(count) == content[place : place + count]
            place = min(place + count, len(content))
        assert stream.skip(skips) == len(content[place : place + skips])
        place = min(place + skips, len(content))
        buffer = bytearray(len(content))
        assert stream.fill(memoryview(buffer)) == len(content) - place
        assert bytes(buffer[: len(content) - place]) == content[place:]
        assert stream.read(1) == b""
        assert stream.junk == 0


@pytest.mark.parametrize("compression", ["gzip", "bzip2"])
def test_a_file_that_inflates_takes_no_more_memory_than_what_is_read(tmp_path, compression):
    """Fault 15: 16 MB of zeros in some kilobytes."""
    (tmp_path / "a").write_bytes(PACKERS[compression](bytes(1 << 24)))
    tracemalloc.start()
    with Stream(tmp_path / "a") as stream:
        assert stream.read(1000) == bytes(1000)
        assert stream.skip(1 << 23) == 1 << 23
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("value", [1e16, -1e18, 3e19, 3.4e38])
def test_what_cannot_be_squared_and_summed_is_refused(value):
    """Fault 4: one such voxel made an empty mask without a word."""
    data = np.ones((4, 5, 6), np.float64)
    data[1, 2, 3] = value
    with pytest.raises(ImageError, match=r"beyond 1e.* in 1 of its voxels"):
        check_finite(data, "a")


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-(2.0**49), 2.0**49, width=32), min_size=1, max_size=50), st.integers(1, 7)
)
def test_what_is_taken_has_finite_sums_of_squares(values, exponent):
    """Fault 4: for the largest images, too."""
    found = check_finite(np.array(values, np.float32), "a")
    squares = np.square(found).sum(dtype=np.float32)
    assert np.isfinite(squares * np.float32(10**exponent))
