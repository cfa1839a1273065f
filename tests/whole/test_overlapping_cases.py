"""Several cases on the command line: what they write and say is what each does alone."""

from __future__ import annotations

import json
import threading

import pytest
from helpers.bundles import make_data, make_manifest, write_bundle, write_image

from deepseg_lite import atomic
from deepseg_lite.api import cases as api_cases
from deepseg_lite.api import runs
from deepseg_lite.engines.onnxruntime_network import OnnxNetwork
from deepseg_lite.inference import overlap

ONE_PATCH = {**make_manifest()["sliding_window"], "patch_size": [32, 32, 32]}


@pytest.fixture
def images(tmp_path):
    """Return four images; the second is none."""
    (tmp_path / "in").mkdir()
    paths = [tmp_path / "in" / f"{name}.nii" for name in ("a", "bad", "c", "d")]
    for seed, path in enumerate(paths):
        write_image(path, make_data(seed=seed))
    paths[1].write_bytes(b"not an image")
    return paths


def _arguments(bundle, images, output):
    given = [word for image in images for word in ("-i", image)]
    return ["run", bundle, *given, "-o", output, "--device", "cpu"]


def _written(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".json"}


def test_files_and_reports_are_those_of_single_runs(command, tmp_path, images):
    bundle = write_bundle(tmp_path / "folds", "folds")
    together = command(*_arguments(bundle, images, tmp_path / "all"), "--json")
    alone = [command(*_arguments(bundle, [i], tmp_path / "one"), "--json") for i in images]
    assert _written(tmp_path / "all") == _written(tmp_path / "one")
    assert len(_written(tmp_path / "all")) == 3
    assert together.code == 1
    assert together.err == "".join(each.err for each in alone)
    documents = [json.loads(each.out) for each in alone]
    found = json.loads(together.out)
    assert found["errors"] == [error for each in documents for error in each["errors"]]
    single = [result for each in documents for result in each["results"]]
    for mine, other in zip(found["results"], single, strict=True):
        for key in ("images", "Volumes_mm3", "SHA256", "Settings", "Labels"):
            assert mine[key] == other[key]
        assert list(mine["Seconds"]) == list(other["Seconds"])


def test_paths_are_printed_in_order(command, tmp_path, images):
    bundle = write_bundle(tmp_path / "bundle")
    outcome = command(*_arguments(bundle, images, tmp_path / "out"))
    assert outcome.out.split() == [
        str(tmp_path / "out" / f"{name}_seg.nii.gz") for name in ("a", "c", "d")
    ]


@pytest.mark.parametrize("error", [MemoryError(), TypeError("a fault"), OSError(5, "I/O error")])
@pytest.mark.parametrize("is_overlapped", [True, False], ids=["overlapped", "in-turn"])
@pytest.mark.parametrize("stage", ["prepare", "predict", "finish"])
def test_any_error_of_a_case_ends_that_case_alone(
    command, tmp_path, images, monkeypatch, error, is_overlapped, stage
):
    """Fault 20."""
    place = {"prepare": (runs, "read_case"), "finish": (api_cases, "image_bytes")}
    holder, name = place.get(stage, (OnnxNetwork, "__call__"))
    real, calls = getattr(holder, name), []

    def fail(*given, **named):
        calls.append(given)
        if len(calls) == 2:
            raise error
        return real(*given, **named)

    write_image(images[1], make_data(seed=1), None)
    bundle = write_bundle(tmp_path / "bundle", sliding_window=ONE_PATCH, mirror_axes=[])
    monkeypatch.setattr(holder, name, fail)
    if not is_overlapped:  # as --max-ram may choose
        monkeypatch.setattr(overlap, "overlapped", lambda runs, _: overlap.in_turn(runs))
    done = command(*_arguments(bundle, images, tmp_path / "out"), "--json")
    document = json.loads(done.out)
    assert done.code == 1
    assert [one["images"] for one in document["results"]] == [[str(images[i])] for i in (0, 2, 3)]
    assert [one["images"] for one in document["errors"]] == [[str(images[1])]]
    assert str(images[1]) in document["errors"][0]["error"]
    assert done.err == f"error: {document['errors'][0]['error']}\n"
    assert sorted(_written(tmp_path / "out")) == [f"{name}_seg.nii.gz" for name in "acd"]


def test_networks_run_in_the_first_thread_alone(command, tmp_path, images, monkeypatch):
    threads = {"read": set(), "predict": set(), "write": set()}

    def noted(stage, function):
        def call(*arguments, **options):
            threads[stage].add(threading.current_thread())
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(runs, "read_case", noted("read", runs.read_case))
    monkeypatch.setattr(atomic, "write_files", noted("write", atomic.write_files))
    monkeypatch.setattr(OnnxNetwork, "__call__", noted("predict", OnnxNetwork.__call__))
    bundle = write_bundle(tmp_path / "bundle")
    command(*_arguments(bundle, images, tmp_path / "out"))
    assert threads["predict"] == {threading.current_thread()}
    assert threads["read"] == threads["write"]
    assert len(threads["read"] - threads["predict"]) == 1
    for each in threads.values():
        each.clear()
    command(*_arguments(bundle, images[:1], tmp_path / "single"))
    assert set(map(frozenset, threads.values())) == {frozenset({threading.current_thread()})}


def test_an_interrupt_leaves_whole_files_and_no_thread(command, tmp_path, images, monkeypatch):
    """It comes when the last case was read: beside the networks of the one before, or after."""
    before, reads = threading.active_count(), []
    run, read = OnnxNetwork.__call__, api_cases.load_image

    def load(path, warn):
        reads.append(path)
        return read(path, warn)

    def predict(network, batch):
        if images[3] in reads:
            raise KeyboardInterrupt
        return run(network, batch)

    monkeypatch.setattr(api_cases, "load_image", load)
    monkeypatch.setattr(OnnxNetwork, "__call__", predict)
    bundle = write_bundle(tmp_path / "bundle")
    outcome = command(*_arguments(bundle, images, tmp_path / "out"))
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    assert threading.active_count() == before
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names <= {"a_seg.nii.gz", "a_seg.json", "c_seg.nii.gz", "c_seg.json"}
    assert "a_seg.nii.gz" in names
