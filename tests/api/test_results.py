"""Labels and probabilities as files."""

from __future__ import annotations

import numpy as np
import pytest

from deepseg_lite.api.results import (
    check_cleaning,
    chosen_files,
    file_contents,
    result_file,
    volumes_mm3,
)
from deepseg_lite.bundles.bundle import Label, OutputFile, Outputs
from deepseg_lite.errors import OptionError
from deepseg_lite.inference.cleaning import Cleaning, parse_sizes

CORD = OutputFile("sc_seg", "mask", ("sc",))
LESION = OutputFile("lesion_seg", "mask", ("lesion",))
WHOLE = OutputFile("seg", "labels")
SOFT = OutputFile("msLesionSoft", "soft", ("lesion",))
SPACING = (1.0, 0.5, 2.0)
VOXEL = float(np.prod(SPACING))


def _outputs(*files: OutputFile) -> Outputs:
    labels = (Label("sc", (1, 2)), Label("lesion", (2,)))
    return Outputs("sigmoid", labels, (1, 2), files)


def _line(*values: float, dtype: type = np.uint8) -> np.ndarray:
    return np.array(values, dtype).reshape(-1, 1, 1)


def _written(data, files, cleaning=Cleaning()):  # noqa: B008 - a frozen value
    contents = file_contents(data, _outputs(*files), files, cleaning, SPACING)
    return [array.ravel().tolist() for array in contents]


def test_a_mask_is_the_union_of_its_labels_values():
    found = _written(_line(0, 1, 2, 3), [CORD, LESION, OutputFile("all", "mask")])
    assert found == [[0, 1, 1, 0], [0, 0, 1, 0], [0, 1, 1, 0]]


def test_a_label_map_stays_as_it_is():
    assert _written(_line(0, 2, 1), [WHOLE]) == [[0, 2, 1]]


def test_soft_runs_write_the_soft_files_and_others_the_others():
    outputs = _outputs(CORD, SOFT)
    assert chosen_files(outputs, soft=False) == (CORD,)
    assert chosen_files(outputs, soft=True) == (SOFT,)
    suffixes = [file.suffix for file in chosen_files(_outputs(CORD), soft=True)]
    assert suffixes == ["sc_softseg", "lesion_softseg"]


def test_probabilities_are_those_of_the_files_label():
    data = np.stack([_line(0.1, 0.2, dtype=np.float32), _line(0.3, 0.4, dtype=np.float32)])
    assert _written(data, [SOFT]) == [pytest.approx([0.3, 0.4])]


@pytest.mark.parametrize(("threshold", "expected"), [(0.5, [0, 0, 1]), (0, [0.25, 0.5, 0.75])])
def test_a_threshold_is_exclusive_and_zero_is_none(threshold, expected):
    data = np.stack([_line(0, 0, 0, dtype=np.float32), _line(0.25, 0.5, 0.75, dtype=np.float32)])
    assert _written(data, [SOFT], Cleaning(threshold=threshold)) == [expected]


def test_every_file_is_cleaned_on_its_own():
    data = _line(1, 0, 2, 1, 0, 2)
    found = _written(data, [CORD, LESION], Cleaning(keep_largest=True))
    assert found == [[0, 0, 1, 1, 0, 0], [0, 0, 1, 0, 0, 0]]


def test_sizes_may_differ_between_files_and_mm3_are_rounded_to_voxels():
    data = _line(2, 2, 0, 1, 1, 1)
    assert _written(data, [CORD, LESION], Cleaning(remove_small=(3, 2))) == [
        [0, 0, 0, 1, 1, 1],
        [1, 1, 0, 0, 0, 0],
    ]
    half = Cleaning(remove_small=(1,), unit="mm3")
    assert half.minimum_voxels(0, (0.7, 1, 1)) == 1
    assert half.minimum_voxels(0, (0.1, 1, 1)) == 10


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), ((), "vox")),
        (("5mm3",), ((5,), "mm3")),
        (("10",), ((10,), "vox")),
        (("10vox", "3"), ((10, 3), "vox")),
        (("10", "3mm3"), ((10, 3), "mm3")),
    ],
)
def test_the_last_size_has_the_unit_of_all(texts, expected):
    assert parse_sizes(texts) == expected


@pytest.mark.parametrize("text", ["", "1.5mm3", "-3", "mm3", "5 mm3", "5cm"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(OptionError, match="is not the size of an object"):
        parse_sizes([text])


@pytest.mark.parametrize(
    ("files", "cleaning", "message"),
    [
        ([WHOLE], Cleaning(fill_holes=True), "seg holds several labels; leave `fill_holes` out"),
        ([SOFT], Cleaning(fill_holes=True), "holds probabilities; add `threshold`"),
        ([SOFT], Cleaning(fill_holes=True, threshold=0), "holds probabilities"),
        ([CORD, LESION], Cleaning(remove_small=(1, 2, 3)), r"3 sizes .* 2 files \(sc_seg, lesion"),
    ],
)
def test_what_cannot_be_cleaned_is_refused(files, cleaning, message):
    with pytest.raises(OptionError, match=message):
        check_cleaning(files, _outputs(*files), cleaning)


def test_holes_are_filled_in_masks_and_thresholded_probabilities():
    check_cleaning([SOFT], _outputs(SOFT), Cleaning(fill_holes=True, threshold=0.5))
    shell = np.ones((3, 3, 3), np.uint8)
    shell[1, 1, 1] = 0
    (filled,) = file_contents(shell, _outputs(LESION), [CORD], Cleaning(fill_holes=True), SPACING)
    assert filled.all()


def test_volumes_are_those_of_what_is_written():
    data = _line(1, 2, 2, 0)
    outputs = _outputs(CORD, LESION)
    contents = file_contents(data, outputs, outputs.files, Cleaning(), SPACING)
    assert volumes_mm3(contents, outputs.files, outputs, VOXEL) == {"sc": 3.0, "lesion": 2.0}
    assert volumes_mm3([data], [WHOLE], outputs, VOXEL) == {"sc": 3.0, "lesion": 2.0}
    soft = _line(0.25, 0.5, 0, 0, dtype=np.float32)
    assert volumes_mm3([soft], [SOFT], outputs, VOXEL) == {"lesion": 0.75}


def test_a_file_says_what_it_shows():
    outputs, none = _outputs(CORD, SOFT), Cleaning()
    mask, soft = result_file(CORD, outputs, none), result_file(SOFT, outputs, none)
    assert (mask.kind, mask.structures, mask.names) == ("mask", ("sc",), {})
    assert (soft.kind, soft.structures) == ("soft", ("lesion",))
    assert result_file(SOFT, outputs, Cleaning(threshold=0.5)).kind == "mask"


def test_values_of_a_map_have_the_name_of_the_smallest_label():
    found = result_file(WHOLE, _outputs(WHOLE), Cleaning())
    assert (found.kind, found.names, found.has_tables) == ("labels", {1: "sc", 2: "lesion"}, False)


def test_a_map_of_one_label_is_a_mask():
    outputs = Outputs("softmax", (Label("sc", (1,)),), None, ())
    found = result_file(OutputFile("seg", "labels"), outputs, Cleaning())
    assert (found.kind, found.structures) == ("mask", ("sc",))
