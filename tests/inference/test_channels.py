"""Images told apart by their contrasts."""

from __future__ import annotations

import numpy as np
import pytest

from deepseg_lite.bundles.bundle import Inputs
from deepseg_lite.errors import OptionError
from deepseg_lite.inference.channels import arrange_channels, channel_order
from deepseg_lite.volume import Volume

ONE = Inputs(("image",), "RAS", "xyz", (("stir", "psir"),), ("psir",))
TWO = Inputs(("t2", "t1"), "RAS", "xyz", (("t2", "t2star"), ("t1",)))
ANY = Inputs(("image",), "RAS", "xyz")


def _volume(channels):
    data = np.arange(1, 1 + channels * 8, dtype=np.float32).reshape(channels, 2, 2, 2)
    return Volume.from_array(data, np.eye(4))


@pytest.mark.parametrize(
    ("contrasts", "order"),
    [((), [0, 1]), (("t1", "t2"), [1, 0]), (("t2star", "t1"), [0, 1]), (("t1", "t2star"), [1, 0])],
)
def test_images_are_put_in_the_order_of_the_channels(contrasts, order):
    assert channel_order(TWO, contrasts) == order
    volume = _volume(2)
    np.testing.assert_array_equal(arrange_channels(volume, TWO, contrasts).data, volume.data[order])


@pytest.mark.parametrize(("contrast", "sign"), [("psir", -1), ("stir", 1)])
def test_a_contrast_is_inverted(contrast, sign):
    volume = _volume(1)
    before = volume.data.copy()
    np.testing.assert_array_equal(
        arrange_channels(volume, ONE, (contrast,)).data, sign * volume.data
    )
    np.testing.assert_array_equal(volume.data, before)


@pytest.mark.parametrize(
    ("inputs", "contrasts", "message"),
    [
        (ONE, (), r"multiplies psir by -1; name it with `contrasts` \(image: stir or psir\)"),
        (ONE, ("t2",), "t2 was given as contrast"),
        (ONE, ("stir", "stir"), "stir, stir was given"),
        (TWO, ("t1",), "one for each image is needed: t2: t2 or t2star; t1: t1"),
        (TWO, ("t1", "t1"), "t1, t1 was given"),
        (ANY, ("t2",), "leave `contrasts` out"),
    ],
)
def test_contrasts_that_do_not_fit_are_refused(inputs, contrasts, message):
    with pytest.raises(OptionError, match=message):
        channel_order(inputs, contrasts)
