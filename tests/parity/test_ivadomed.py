"""Every part, and whole models, against ivadomed 2.9.10 live, through files.

DEEPSEG_LITE_IVADOMED_PYTHON names the interpreter of an environment that has it.
The bar of whole models: 1 of 10,000 voxels for binary results, 1e-3 for soft ones.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from deepseg_export.architectures.numpy_layers import NumpyLayers
from deepseg_export.exporting import convert
from deepseg_export.families import ivadomed
from deepseg_export.families.ivadomed.rebuilding import rebuild
from deepseg_export.network.exact_norm import with_exact_norms
from deepseg_export.network.verify import open_session, padded, run
from helpers.bundles import ORIENTATIONS, make_affine
from helpers.ivadomed_networks import check
from helpers.paths import SHARED, TESTS
from helpers.through_pipeline import apply_map_steps, bundle_of, patches, segment

from deepseg_lite.inference import pipeline
from deepseg_lite.nifti.reading import read_volume
from deepseg_lite.steps.crop import center_crop
from deepseg_lite.steps.intensity import normalize_instance
from deepseg_lite.steps.prior import prior_box
from deepseg_lite.steps.resample import zoom
from deepseg_lite.volume import Volume

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

PYTHON = os.environ.get("DEEPSEG_LITE_IVADOMED_PYTHON")
SCRIPT = TESTS / "helpers" / "ivadomed_original.py"
DATA = SHARED / "data"

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(PYTHON is None, reason="DEEPSEG_LITE_IVADOMED_PYTHON is not set"),
]

T2STAR = [
    "gm_challenge/sub-9418_T2starw.nii.gz",
    "gm_challenge/sub-10062Ses2_T2starw.nii.gz",
    "sct_testing/t2s_uncropped.nii.gz",
]
VOLUMES = ["sct_testing/t2.nii.gz", "sct_testing/t1w.nii.gz", "sct_tutorial/t2_lumbar.nii.gz"]
PRIORS = {
    VOLUMES[0]: "sct_testing/t2_seg-manual.nii.gz",
    VOLUMES[1]: "sct_testing/t1w_seg-manual.nii.gz",
}
SLICE_MODELS = ("t2star_sc", "multiclass_7t", "exvivo")
OTHER_MODELS = ("sagittal_softmax", "coronal_patches", "relu_batches", "relu_3d", "unet_3d")
CORD_MODELS = ("lumbar", "findcord_tumor")
SECOND_MODELS = {"t2_tumor": 1, "tumor_edema_cavity": 2}  # and their channels
# What SCT gives ivadomed since 7.0 when the user asks for nothing.
SINCE_7 = {"keep_largest": 0, "fill_holes": 0}
FLOOR = 0.01

Array = np.ndarray[Any, Any]
Results = list[dict[str, Array]]
Reference = Callable[[list[dict[str, Any]]], Results]


def _call(*arguments: object) -> None:
    environment = {**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    command = [str(PYTHON), "-W", "ignore", str(SCRIPT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def reference(tmp_path: Path) -> Reference:
    """Do jobs with ivadomed, all in one process; arrays go and come through files."""

    def run(jobs: list[dict[str, Any]]) -> Results:
        for index, job in enumerate(jobs):
            job["output"] = str(tmp_path / f"result{index}.npz")
            if "array" in job:
                job["input"] = str(tmp_path / f"input{index}.npy")
                np.save(job["input"], job.pop("array"))
        (tmp_path / "jobs.json").write_text(json.dumps(jobs))
        _call("run", tmp_path / "jobs.json")
        return [dict(np.load(job["output"])) for job in jobs]

    return run


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Let ivadomed write its models, and beside them the same without their ONNX files."""
    folder = tmp_path_factory.mktemp("ivadomed")
    _call("models", folder / "onnx")
    leave_out = shutil.ignore_patterns("*.onnx")
    shutil.copytree(folder / "onnx", folder / "pt", ignore=leave_out)
    return folder


def load(model: Path) -> Any:
    """Read a model; the second ones of cascades are told which one runs first."""
    first = "first" if model.name in SECOND_MODELS else None
    return ivadomed.load(model, ivadomed.Options(prior=first))


def _network(network: Any, shapes: tuple[Any, Any]) -> Callable[[Array], Array]:
    """Return a function of arrays for what the exporter read, of input and output ``shapes``."""
    graph = convert(network, *shapes)
    session = onnxruntime.InferenceSession(graph.onnx, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: np.ascontiguousarray(batch)})[0]


def _only(checkpoint: Any) -> Callable[[Array], Array]:
    """Return the one network of a checkpoint as a function of arrays."""
    (network,) = checkpoint.networks.values()
    return _network(network, (checkpoint.input_shape, checkpoint.output_shape))


def _volume(array: Array, spacing: tuple[float, ...]) -> Volume:
    """Return an array (H, W[, D]) as a volume; a slice gets its first axis."""
    if array.ndim == 2:
        return Volume.from_array(array[None], np.diag([1, *spacing[:2], 1]))
    return Volume.from_array(array, np.diag([*spacing, 1]))


def _shapes(rng: Any, count: int, low: int = 3, high: int = 40) -> list[tuple[int, ...]]:
    return [tuple(rng.integers(low, high, 2 + index % 2).tolist()) for index in range(count)]


def test_resampling(reference, rng):
    cases = []
    for shape in _shapes(rng, 80):
        array = rng.normal(300, 120, shape).astype(np.float32)
        zooms = np.float32(rng.uniform(0.3, 3.5, 3)).tolist()
        target = rng.choice([0.5, 0.75, 1, 1.7, 2], 3).tolist()
        cases.append((array, zooms, target))
    jobs = [dict(call="resample", array=a, zooms=z[: a.ndim], target=t) for a, z, t in cases]
    for (array, zooms, target), expected in zip(cases, reference(jobs), strict=True):
        volume = _volume(array, zooms)
        spacing = target if array.ndim == 3 else (None, *target[:2])
        zoomed, record = zoom(volume, spacing)
        found = zoomed.data[0].reshape(expected["result"].shape)
        np.testing.assert_allclose(found, expected["result"], rtol=1e-5, atol=1e-3)
        back = record.undo(expected["result"].reshape(zoomed.data.shape))
        back = back[0].reshape(array.shape)
        np.testing.assert_allclose(back, expected["back"], rtol=1e-5, atol=1e-3)


def test_centre_crops(reference, rng):
    cases = [(rng.random(s, np.float32), rng.integers(1, 45, len(s))) for s in _shapes(rng, 80)]
    jobs = [dict(call="center_crop", array=a, size=s.tolist()) for a, s in cases]
    for (array, size), expected in zip(cases, reference(jobs), strict=True):
        sizes = size.tolist() if array.ndim == 3 else [None, *size.tolist()]
        cropped, record = center_crop(_volume(array, (1, 1, 1)), sizes)
        np.testing.assert_array_equal(
            cropped.data[0].reshape(expected["result"].shape), expected["result"]
        )
        back = (cropped.data if record is None else record.undo(cropped.data))[0]
        np.testing.assert_array_equal(back.reshape(array.shape), expected["back"])


def test_boxes(reference, rng):
    cases = []
    for _ in range(150):
        mask = np.zeros(rng.integers(12, 70, 3))
        for _ in range(rng.integers(1, 4)):
            low = [int(rng.integers(0, n - 3)) for n in mask.shape]
            mask[tuple(slice(a, a + int(rng.integers(1, 30))) for a in low)] = 1
        zooms = np.float32(rng.choice([0.9, 0.8, 1, 3.3, rng.uniform(0.3, 4)], 3)).tolist()
        target = rng.choice([0.5, 1, 2], 3).tolist()
        factor = rng.choice([1, 1.2, 1.5, 2], 3).tolist()
        patch = rng.choice([16, 32, 48], 3).tolist()
        stride = rng.choice([8, 16, 12], 3).tolist()
        cases.append((mask, zooms, target, factor, patch, stride))
    names = ("array", "zooms", "target", "factor", "patch", "stride")
    jobs = [dict(zip(names, case, strict=True), call="box") for case in cases]
    for case, expected in zip(cases, reference(jobs), strict=True):
        mask, zooms, target, factor, patch, stride = case
        scale = np.divide(zooms, target).tolist()
        start, size = prior_box(mask, factor, scale, patch, stride)
        assert (start, size) == (expected["start"].tolist(), expected["size"].tolist())


def test_normalisation(reference, rng):
    cases = [rng.normal(900, 200, shape).astype(np.float32) for shape in _shapes(rng, 20)]
    cases += [np.full((5, 6), 7.25, np.float32), rng.normal(1, 5e-6, (9, 9)).astype(np.float32)]
    results = reference([dict(call="normalize", array=array) for array in cases])
    for array, expected in zip(cases, results, strict=True):
        found = normalize_instance(array[None])[0]  # numpy's own sums differ between its versions
        np.testing.assert_allclose(found, expected["result"], rtol=1e-6, atol=1e-6)


STEPS: list[dict[str, Any]] = [
    {"binarize_prediction": {"thr": 0.5}},
    {"binarize_prediction": {"thr": 0.3}, "keep_largest": {}},
    {"keep_largest": {}, "binarize_prediction": {"thr": 0.5}, "fill_holes": {}},
    {"binarize_prediction": {"thr": -1}, "keep_largest": {}},
    {"binarize_maxpooling": {}, "remove_small": {"unit": "vox", "thr": 4}},
    {"remove_noise": {"thr": 0.4}, "remove_small": {"unit": "mm3", "thr": 5}},
    {"remove_noise": {"thr": -1}, "remove_small": {"unit": "vox", "thr": 3}},
    {"fill_holes": {}, "keep_largest": {}},
]


@pytest.mark.parametrize("classes", [1, 3])
def test_postprocessing(reference, rng, classes):
    from deepseg_export.families.ivadomed.outputs import read_postprocessing
    from scipy import ndimage

    spacing = (0.75, 1.1, 2.0)
    cases = []
    for steps in STEPS:
        for density in (0.35, 0.5):
            noise = rng.random((14, 11, 9, classes))
            soft = ndimage.gaussian_filter(noise, (0.8, 0.8, 0.8, 0))
            rank = soft.ravel().argsort().argsort().reshape(soft.shape) / soft.size
            maps = np.clip(rank - density, 0, None) / (1 - density) / classes**0.5
            cases.append((steps, np.round(maps, 3).astype(np.float32)))
    results = reference(
        [
            dict(call="postprocess", array=maps, steps=steps, spacing=spacing)
            for steps, maps in cases
        ]
    )
    for (steps, maps), expected in zip(cases, results, strict=True):
        settings = {
            "loader_parameters": {"target_suffix": ["_x"] * classes},
            "postprocessing": steps,
        }
        listed = read_postprocessing(settings, [])
        found = apply_map_steps(listed, np.moveaxis(maps, -1, 0).copy(), spacing)
        np.testing.assert_array_equal(np.moveaxis(found, 0, -1), expected["result"])


def _write_image(path: Path, rng: Any, shape: tuple[int, ...], orientation: str) -> Path:
    """Write an oblique, anisotropic image with a constant slice somewhere."""
    data = rng.normal(200, 60, shape).astype(np.float32)
    data[:, :, 2] = data[1] = data[:, 3] = 0
    nib.save(nib.Nifti1Image(data, make_affine(orientation)), path)
    return path


@pytest.mark.parametrize("name", ["t2star_sc", "sagittal_softmax", "coronal_patches", "lumbar"])
def test_what_the_network_sees_in_every_orientation(reference, models, rng, tmp_path, name):
    model = models / "onnx" / name
    files = [
        _write_image(tmp_path / f"{code}.nii.gz", rng, tuple(rng.integers(32, 60, 3)), code)
        for code in ORIENTATIONS
    ]
    jobs = [dict(call="prepare", model=str(model), images=[str(file)]) for file in files]
    manifest = load(model).manifest
    for file, expected in zip(files, reference(jobs), strict=True):
        found = patches(manifest, read_volume([nib.load(file)], [str(file)]))
        np.testing.assert_allclose(
            found.reshape(expected["result"].shape), expected["result"], atol=2e-5
        )


def _check(found: Array, expected: Array) -> None:
    difference = np.abs(found.astype(np.float32) - expected)
    if found.dtype == np.uint8:
        assert np.count_nonzero(difference) * 10_000 <= found.size
    else:
        # What is no larger than the floor becomes 0: the last bit decides which side it is on.
        at_floor = (np.minimum(found, expected) == 0) & (np.abs(difference - FLOOR) < 1e-3)
        assert difference[~at_floor].max() <= 1e-3
        assert np.count_nonzero(at_floor & (difference > 1e-3)) * 10_000 <= found.size


@pytest.mark.parametrize("form", ["onnx", "pt"])
def test_whole_models_in_every_orientation(reference, models, rng, tmp_path, form):
    cases = []
    for index, code in enumerate(ORIENTATIONS[form == "pt" :: 2]):
        shape = tuple(rng.integers(34, 60, 3))
        file = _write_image(tmp_path / f"{code}.nii.gz", rng, shape, code)
        names = (*SLICE_MODELS, *CORD_MODELS, *OTHER_MODELS)
        cases.append((names[index % len(names)], file))
    jobs = [
        dict(call="segment", model=str(models / form / name), images=[str(file)])
        for name, file in cases
    ]
    read = {name: load(models / form / name) for name, _ in cases}
    for (name, file), expected in zip(cases, reference(jobs), strict=True):
        manifest = read[name].manifest
        volume = read_volume([nib.load(file)], [str(file)])
        _check(segment(manifest, volume, _only(read[name])), expected["maps"])
        suffixes = [file["suffix"] for file in manifest["outputs"]["files"]]
        assert suffixes == [target.lstrip("_") for target in expected["targets"]]


REAL = {
    **{name: T2STAR for name in SLICE_MODELS},
    **{name: VOLUMES for name in (*CORD_MODELS, *OTHER_MODELS)},
    **{name: list(PRIORS) for name in SECOND_MODELS},
}
SLOW = pytest.mark.slow
QUICK = ("tumor_edema_cavity",)  # all others but t2_tumor run on synthetic images, too


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data")
@pytest.mark.parametrize("form", ["onnx", "pt"])
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else SLOW) for n in REAL])
def test_whole_models_on_real_images(reference, models, record_property, name, form):
    model = models / form / name
    jobs, channels = [], SECOND_MODELS.get(name, 1)
    for image in REAL[name]:
        options = {"fname_prior": str(DATA / PRIORS[image])} if name in SECOND_MODELS else {}
        images = [str(DATA / image)] * channels
        jobs.append(dict(call="segment", model=str(model), images=images, options=options))
    checkpoint = load(model)
    network = _only(checkpoint)
    voxels = differing = largest = 0
    for image, expected in zip(REAL[name], reference(jobs), strict=True):
        files = [DATA / image] * channels
        volume = read_volume([nib.load(file) for file in files], list(map(str, files)))
        prior = None
        if name in SECOND_MODELS:
            mask = DATA / PRIORS[image]
            prior = read_volume([nib.load(mask)], [str(mask)])
        found = segment(checkpoint.manifest, volume, network, prior)
        _check(found, expected["maps"])
        difference = np.abs(found.astype(np.float32) - expected["maps"])
        voxels, differing = voxels + found.size, differing + int((difference > 1e-3).sum())
        largest = max(largest, float(difference.max()))
    record_property("voxels", voxels)
    record_property("differing", differing)
    record_property("largest_difference", largest)


def _write_seeds(model: Path, folder: Path, count: int) -> list[Path]:
    """Write a model as if it had been trained several times, each in a folder of its own."""
    import onnx

    rng = np.random.default_rng(11)
    places = []
    for seed in range(count):
        graph = onnx.load(model / f"{model.name}.onnx")
        for tensor in graph.graph.initializer:
            array = onnx.numpy_helper.to_array(tensor)
            if array.dtype == np.float32 and array.ndim > 1:
                noisy = (array * rng.normal(1, 0.3, array.shape)).astype(np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(noisy, tensor.name))
        places.append(folder / f"seed{seed}" / model.name)
        places[-1].mkdir(parents=True)
        onnx.save(graph, places[-1] / f"{model.name}.onnx")
        shutil.copy(model / f"{model.name}.json", places[-1])
    return places


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data")
@pytest.mark.parametrize("name", ["lumbar", "relu_3d"], ids="{}-ensemble".format)
def test_ensembles_are_the_mean_of_finished_results(
    reference, models, tmp_path, record_property, name
):
    """The mean of what ivadomed gives for each seed, masks (lumbar) and soft maps (relu_3d)."""
    file = DATA / VOLUMES[0]
    seeds = _write_seeds(models / "onnx" / name, tmp_path, 3)
    jobs = [dict(call="segment", model=str(seed), images=[str(file)]) for seed in seeds]
    each = [result["maps"] for result in reference(jobs)]
    expected = np.mean(each, axis=0)
    assert len({array.tobytes() for array in each}) == len(seeds)
    checkpoint = ivadomed.load(seeds, ivadomed.Options(is_ensemble=True))
    bundle = bundle_of(checkpoint.manifest)
    shapes = checkpoint.input_shape, checkpoint.output_shape
    networks = [_network(network, shapes) for network in checkpoint.networks.values()]
    volume = read_volume([nib.load(file)], [str(file)])
    found = pipeline.segment(volume, bundle, networks).data
    assert found.dtype == np.float32
    difference = np.abs(found - expected)
    differing = int((difference > 1e-3).sum())
    record_property("voxels", found.size)
    record_property("differing", differing)
    record_property("largest_difference", float(difference.max()))
    assert expected.max() > 0
    assert differing * 10_000 <= found.size


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data")
@pytest.mark.parametrize(
    "name", [pytest.param("multiclass_7t", marks=SLOW), "lumbar", "findcord_tumor"]
)
def test_steps_that_sct_switches_off_since_7_0(reference, models, name):
    model, file = models / "onnx" / name, str(DATA / REAL[name][0])
    job = dict(call="segment", model=str(model), images=[file], options=SINCE_7)
    (expected,) = reference([job])
    checkpoint = load(model)
    steps = checkpoint.manifest["postprocessing"]
    kept = [step for step in steps if step["step"] not in SINCE_7]
    assert len(kept) < len(steps)
    volume = read_volume([nib.load(file)], [file])
    network = _only(checkpoint)
    _check(
        segment({**checkpoint.manifest, "postprocessing": kept}, volume, network), expected["maps"]
    )


def test_pickled_networks_are_the_same_functions(reference, models, rng):
    """Computed with 64 bits, in which nothing but a wrong network differs by more than 1e-6."""
    jobs, found = [], []
    for folder in sorted((models / "pt").iterdir()):
        checkpoint = load(folder)
        spatial = (39, 36) if len(checkpoint.input_shape) == 3 else (32, 32, 16)
        batch = rng.standard_normal((2, checkpoint.input_shape[0], *spatial))
        found.append(checkpoint.networks["0"].on(NumpyLayers(len(spatial)), batch))
        jobs.append(dict(call="forward", array=batch, model=str(folder / f"{folder.name}.pt")))
    for maps, expected in zip(found, reference(jobs), strict=True):
        assert maps.dtype == expected["result"].dtype == np.float64
        np.testing.assert_allclose(maps, expected["result"], rtol=0, atol=1e-9)


def test_pickled_networks_equal_the_onnx_files_beside_them(models, rng, record_property):
    """Ivadomed exported both of one network; in ONNX Runtime they must give the same."""
    worst = 0.0
    for folder in sorted((models / "pt").iterdir()):
        pickled, given = load(folder), load(models / "onnx" / folder.name)
        spatial = (39, 36) if len(pickled.input_shape) == 3 else (32, 16, 16)
        shapes = (pickled.input_shape[0], *spatial), (pickled.output_shape[0], *spatial)
        noise = rng.standard_normal((1, *shapes[0]), dtype=np.float32)
        for batch in (noise, padded(noise)):
            found, expected = (
                _network(one.networks["0"], shapes)(batch) for one in (pickled, given)
            )
            worst = max(worst, float(np.abs(found - expected).max() / np.abs(expected).max()))
    record_property("worst", worst)
    assert worst <= 1e-6


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Let ivadomed write networks of every depth, kind and output, and what they compute."""
    folder = tmp_path_factory.mktemp("networks")
    _call("networks", folder)
    return sorted(folder.glob("*.pt"))


GUARD = {"Equal": 1, "Where": 1}
"""What relu has beside torch's export, whose tracer keeps the branch that the example took."""


def _optimized(data: bytes, level: Any, place: Path) -> Counter[str]:
    """Return how many there are of each operator after ONNX Runtime has optimised a graph."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(place)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(place).graph.node)


def test_networks_written_directly_equal_those_that_torch_exports(
    networks, tmp_path, record_property
):
    """Of the original's own classes, padded input included.

    Where sizes are free, torch's graph gets the exact norms that exports with torch get, too.
    """
    _call("exports", networks[0].parent)
    levels = onnxruntime.GraphOptimizationLevel
    for pickle in networks:
        with np.load(pickle.with_suffix(".npz")) as saved:
            batch, classes = saved["batch"], saved["exact"].shape[1]
        axes = batch.ndim - 2
        network, _ = rebuild(pickle, batch.shape[1], axes, classes)
        traced = onnx.load(pickle.with_suffix(".onnx"))
        exact = with_exact_norms(onnx.shape_inference.infer_shapes(traced))
        for spatial, torch_model in ((batch.shape[2:], traced), ((None,) * axes, exact)):
            shapes = (batch.shape[1], *spatial), (classes, *spatial)
            direct, torch_graph = convert(network, *shapes).onnx, torch_model.SerializeToString()
            found, expected = (run(open_session(each), batch) for each in (direct, torch_graph))
            for item, wanted in zip(found, expected, strict=True):  # the second one is padded
                distance = float(np.abs(item - wanted).max() / np.abs(wanted).max())
                record_property(f"{pickle.stem} {spatial}", distance)
                assert distance <= 1e-6
            if not pickle.stem.startswith("modified"):  # U-Nets crop without asking for sizes
                continue
            for level in (levels.ORT_ENABLE_BASIC, levels.ORT_ENABLE_EXTENDED):
                ours, theirs = (
                    _optimized(each, level, tmp_path / "optimized.onnx")
                    for each in (direct, torch_graph)
                )
                assert not theirs - ours
                assert dict(ours - theirs) == (GUARD if "relu" in pickle.stem else {})


def test_networks_of_every_kind_are_the_same_function(networks, record_property):
    assert len(networks) > 8
    for pickle in networks:
        distances = check(pickle)
        record_property(pickle.stem, distances._asdict())


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data")
@pytest.mark.parametrize("form", ["onnx", "pt"])
def test_a_cascade_from_the_command_lines_equals_two_calls_of_ivadomed(
    reference, models, tmp_path, command, form
):
    """Export both models, run them as one, compare every file: two images, four maps."""
    from click.testing import CliRunner
    from deepseg_export.cli.group import cli

    image = DATA / VOLUMES[1]
    first, second = models / form / "findcord_tumor", models / form / "tumor_edema_cavity"
    for model, *prior in ((first,), (second, "--prior", "findcord_tumor")):
        words = ["ivadomed", str(model), "-o", str(tmp_path / model.name), *prior]
        made = CliRunner().invoke(cli, words)
        assert made.exit_code == 0, made.output
    (cord,) = reference([dict(call="segment", model=str(first), images=[str(image)])])
    like = nib.load(image)
    mask = tmp_path / "prior.nii.gz"
    nib.save(nib.Nifti1Image(cord["maps"][0].astype(np.float32), like.affine), mask)
    assert 0 < cord["maps"].sum() < cord["maps"].size
    options = {"fname_prior": str(mask)}
    job = dict(call="segment", model=str(second), images=[str(image)] * 2, options=options)
    (expected,) = reference([job])
    output = tmp_path / "out"
    ended = command(
        "run", tmp_path / second.name, "-i", image, "-i", image, "-o", f"{output}/", "--threads", 1
    )
    assert ended.code == 0, ended.err
    stem = image.name[: -len(".nii.gz")]
    for target, maps in zip(expected["targets"], expected["maps"], strict=True):
        found = np.asanyarray(nib.load(output / f"{stem}{target}.nii.gz").dataobj)
        _check(found, maps)
    assert expected["maps"].any()
