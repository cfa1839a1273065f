"""The workflow around the spine's networks, as a function of arrays and two callables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.bundles import make_affine, make_bundle, make_manifest
from helpers.spine import make_spine
from nibabel.affines import voxel_sizes
from scipy.spatial.transform import Rotation

from deepseg_lite.api.model import ResultFile
from deepseg_lite.api.record import label_tables
from deepseg_lite.bundles.manifest import manifest_problems
from deepseg_lite.errors import BundleError, Cancelled, ImageError
from deepseg_lite.inference.pipeline import segment
from deepseg_lite.inference.settings import make_settings
from deepseg_lite.volume import Volume
from deepseg_lite.watch import Watch
from deepseg_lite.workflows.spine import workflow
from deepseg_lite.workflows.spine.grids import to_canonical, to_isotropic
from deepseg_lite.workflows.spine.headers import affine_of_labels
from deepseg_lite.workflows.spine.labelling import label_spine
from deepseg_lite.workflows.spine.outputs import LEVEL_NAMES, OUTPUTS, needs_second_step
from deepseg_lite.workflows.spine.tables import STEP1, Rules
from deepseg_lite.workflows.spine.workflow import MARGIN_VOXELS, label_image

WORKFLOW = {
    "name": "totalspineseg",
    "second": "tiny.step2",
    "rules": {
        "minimum_component_voxels": 200,
        "minimum_landmark_voxels": 201,
        "vet_c2_c3": True,
        "vet_l5_s1": "size",
    },
    "files": {"default": [{"output": "step1_output", "suffix": "all"}]},
}


@pytest.fixture(scope="module")
def spine():
    return make_spine(1, 8)


class Networks:
    """Both networks of a spine whose classes are known; they remember what they were given."""

    def __init__(self, spine, room=(20, 21, 22)):
        self.room = room
        self.step1, self.step2 = (
            np.pad(c, [(n, n) for n in room]) for c in (spine.step1, spine.step2)
        )
        self.image = np.arange(self.step1.size, dtype=np.float64).reshape(self.step1.shape)
        self.affine = spine.affine.copy()
        self.affine[:3, 3] -= room
        self.given = []

    def first(self, data, affine, soft):
        self.given.append((data, affine, tuple(soft)))
        scores = [(self.step1 == channel + 1) * np.float32(0.75) for channel in soft]
        return self.step1, np.stack(scores) if scores else None

    def second(self, data, affine, soft):
        self.given.append((data, affine, tuple(soft)))
        start = np.rint(affine[:3, 3] - self.affine[:3, 3]).astype(int)
        box = tuple(slice(a, a + n) for a, n in zip(start, data.shape[1:], strict=True))
        return self.step2[box], None

    def run(self, *outputs, **options):
        self.watch = Watch()
        return label_image(
            self.image,
            self.affine,
            outputs,
            self.first,
            self.second,
            watch=self.watch,
            **options,
        )


def test_the_first_network_sees_the_whole_image_as_float32(spine):
    networks = Networks(spine)
    networks.run("step1_output")
    ((data, affine, soft),) = networks.given
    assert (data.dtype, soft) == (np.float32, ())
    np.testing.assert_allclose(data[0], networks.image, rtol=1e-6)
    np.testing.assert_allclose(affine, networks.affine)


def test_the_second_network_sees_the_box_around_the_spine_and_every_other_disc(spine):
    networks = Networks(spine)
    found = networks.run("step1_output", "step2_output", "step2_raw")
    data, affine, _ = networks.given[1]
    box = tuple(
        slice(max(where.min() - MARGIN_VOXELS, 0), where.max() + MARGIN_VOXELS + 1)
        for where in np.nonzero(found.arrays["step1_output"])
    )
    np.testing.assert_allclose(data[0], networks.image[box], rtol=1e-6)
    np.testing.assert_allclose(affine[:3, 3] - networks.affine[:3, 3], [b.start for b in box])
    odd = np.isin(found.arrays["step1_output"][box], (63, 65, 67))
    np.testing.assert_array_equal(data[1], odd)
    for name in ("step2_raw", "step2_output"):
        array = found.arrays[name]
        assert array.shape == networks.image.shape
        outside = array.copy()
        outside[box] = 0
        assert not outside.any()
    np.testing.assert_array_equal(found.arrays["step2_raw"], networks.step2)


def test_results_come_in_the_order_they_were_asked_for_and_nothing_else_is_done(spine):
    networks = Networks(spine)
    found = networks.run("step1_cord", "step1_raw")
    assert list(found.arrays) == ["step1_cord", "step1_raw"]
    assert networks.given[0][2] == (8,)
    assert len(networks.given) == 1
    assert not {"step1_levels", "step2_network"} & set(networks.watch.seconds)


def test_probabilities_are_those_of_their_own_channel(spine):
    networks = Networks(spine)
    found = networks.run("step1_canal", "step1_cord")
    assert networks.given[0][2] == (7, 8)
    for name, value in (("step1_canal", 8), ("step1_cord", 9)):
        np.testing.assert_array_equal(found.arrays[name] == 0.75, networks.step1 == value)


def test_results_are_on_the_grid_of_the_image_unless_iso_is_asked_for(spine):
    networks = Networks(spine, room=(2, 3, 4))
    flipped = networks.image[::-1, :, ::-1]
    affine = networks.affine @ np.diag([-1.0, 1.0, -1.0, 1.0])
    affine[:3, 3] = (networks.affine @ [flipped.shape[0] - 1, 0, flipped.shape[2] - 1, 1])[:3]
    found = [
        label_image(flipped, affine, ["step1_raw"], networks.first, iso=iso)
        for iso in (False, True)
    ]
    np.testing.assert_array_equal(found[0].arrays["step1_raw"], networks.step1[::-1, :, ::-1])
    np.testing.assert_array_equal(found[1].arrays["step1_raw"], networks.step1)
    np.testing.assert_allclose(found[0].affine, affine)
    np.testing.assert_allclose(found[1].affine, networks.affine)


def test_results_lie_where_the_files_of_the_original_say(spine, monkeypatch):
    networks, used = Networks(spine), {}

    def first(data, affine, soft):
        x, y, z = data.shape[1:]
        return networks.step1[:x, :y, :z], None

    def second(data, affine, soft):
        used["seen"] = affine
        return np.ones(data.shape[1:], np.uint8), None

    def remember(kind):
        def to_grid(array, affine, grid, spacing=None):
            used[kind] = affine, grid.spacing, spacing
            return array

        return to_grid

    monkeypatch.setitem(workflow.TO_GRID, "labels", remember("labels"))
    monkeypatch.setitem(workflow.TO_GRID, "classes", remember("classes"))
    monkeypatch.setattr(workflow, "points_to_grid", remember("points"))
    monkeypatch.setattr(workflow, "_label", lambda classes, step, *_: labels_of(classes, step))

    def labels_of(classes, step):
        return label_spine(classes, step) if step is STEP1 else classes

    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", (4, -3, 6), degrees=True).as_matrix()
    affine = turn @ networks.affine
    names = ["step1_output", "step1_levels", "step2_raw"]
    zooms = (1.0, 1.0, 1.25)
    label_image(networks.image, affine, names, first, second, spacing=zooms)
    _, iso = to_isotropic(*to_canonical(networks.image, affine))
    expected = affine_of_labels(iso, iso)
    assert (expected != iso).any()
    np.testing.assert_array_equal(used["labels"][0], expected)
    np.testing.assert_array_equal(used["points"][0], expected)
    assert used["points"][1] == zooms
    np.testing.assert_array_equal(used["points"][2], voxel_sizes(iso))
    np.testing.assert_array_equal(used["classes"][0], affine_of_labels(used["seen"], iso))


def test_integers_are_cut_to_whole_numbers_and_series_averaged(spine):
    networks = Networks(spine)
    image = (networks.image % 200).astype(np.int16)
    label_image(
        np.stack([image, image + 1], axis=-1), networks.affine, ["step1_raw"], networks.first
    )
    lost = image - networks.given[0][0][0]  # 99.99... after interpolation becomes 99, as upstream
    assert set(np.unique(lost)) <= {0, 1}
    assert (lost == 0).mean() > 0.9


def test_rules_reach_the_labelling(spine):
    networks = Networks(spine)
    with pytest.raises(ImageError, match="no disc was found"):
        networks.run("step1_output", rules=Rules(minimum_component_voxels=10**6))


def test_an_image_without_a_spine_is_an_error(spine):
    networks = Networks(spine)
    networks.step1 = np.zeros_like(networks.step1)
    with pytest.raises(ImageError, match="no spinal canal was found"):
        networks.run("step1_raw")


def test_levels_have_the_names_of_the_joints():
    assert {1: "top_of_C1", 2: "C1_C2", 8: "C7_T1", 20: "T12_L1", 25: "L5_S1"}.items() <= (
        LEVEL_NAMES.items()
    )
    assert list(LEVEL_NAMES) == list(range(1, 26))


def test_which_results_need_the_second_step():
    assert [name for name in OUTPUTS if needs_second_step((name,))] == ["step2_raw", "step2_output"]


def test_tables_of_a_label_map():
    file = ResultFile("all", "labels", names={50: "sacrum", 1: "spinal_cord"}, has_tables=True)
    tables = label_tables(file)
    assert tables["_labels.json"] == b'{\n  "1": "spinal_cord",\n  "50": "sacrum"\n}\n'
    assert tables["_labels.tsv"] == b"index\tname\n1\tspinal_cord\n50\tsacrum\n"
    assert label_tables(file, for_bids=True) == {".tsv": tables["_labels.tsv"]}
    assert label_tables(replace(file, has_tables=False)) == {}
    assert label_tables(ResultFile("cord", has_tables=True), for_bids=True) == {}


@pytest.mark.parametrize("kind", ["regions", "threshold"])
def test_probabilities_beside_a_label_map_are_those_of_a_soft_run(rng, kind):
    """One pass gives what two give, on an oblique image that is resampled."""
    data = rng.random((14, 12, 9)).astype(np.float32)
    resample = {
        "step": "resample",
        "spacing": [2.0, 1.0, 0.9],
        "image": {"order": 3, "separate_axis": "auto", "separate_order": 0},
        "scores": {"order": 1, "separate_axis": "auto", "separate_order": 0},
    }
    bundle = make_bundle(kind, preprocessing=[*make_manifest(kind)["preprocessing"], resample])
    count = len(bundle.outputs.labels)
    volume = Volume.from_array(data, make_affine("PIL"))

    def predict(patches):
        return np.concatenate([patches - 0.3 * i - 0.3 for i in range(2)], axis=1) * 5

    last = [count - 1]
    both = segment(volume, bundle, [predict], soft_labels=last)
    labels = segment(volume, bundle, [predict]).data
    soft = segment(volume, bundle, [predict], make_settings(soft=True)).data
    np.testing.assert_array_equal(both.data, labels)
    assert both.data.dtype == labels.dtype
    np.testing.assert_allclose(both.probabilities, soft[last], atol=1e-6)
    assert segment(volume, bundle, [predict]).probabilities is None


def test_a_manifest_may_describe_a_workflow():
    manifest = {**make_manifest(), "workflow": WORKFLOW}
    assert manifest_problems(manifest) == []
    bundle = make_bundle(workflow=WORKFLOW)
    assert bundle.companions == ("tiny.step2",)
    assert bundle.workflow.files["default"][0].output == "step1_output"
    assert make_bundle().companions == ()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "another"},
        {"second": "../step2"},
        {"rules": {**WORKFLOW["rules"], "vet_l5_s1": "sometimes"}},
        {"rules": {}},
        {"files": {}},
        {"files": {"default": [{"output": "step3", "suffix": "all"}]}},
        {"files": {"default": [], "label-vert": []}},
    ],
)
def test_a_workflow_that_cannot_run_is_no_valid_manifest(change):
    assert manifest_problems({**make_manifest(), "workflow": {**WORKFLOW, **change}})


def test_a_workflow_has_files_of_different_names_and_one_image():
    twice = [{"output": name, "suffix": "all"} for name in ("step1_output", "step1_levels")]
    for manifest, message in (
        ({**make_manifest(), "workflow": {**WORKFLOW, "files": {"default": twice}}}, "suffix"),
        ({**make_manifest("channels"), "workflow": WORKFLOW}, "one input channel"),
    ):
        (problem,) = manifest_problems(manifest)
        assert message in problem
    with pytest.raises(BundleError, match="one input channel"):
        make_bundle("channels", workflow=WORKFLOW)


def test_cancelling_goes_through(spine):
    networks = Networks(spine)

    def stop(*_):
        raise Cancelled("cancelled by the caller; nothing was written.")

    networks.first = stop
    with pytest.raises(Cancelled):
        networks.run("step1_output")
