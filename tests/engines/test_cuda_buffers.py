"""Buffers on a device, in ordinary memory: ONNX Runtime binds those of its CPU provider alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock

import numpy as np
import onnxruntime
import pytest

from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.engines import cuda_buffers
from deepseg_lite.engines.cuda_buffers import DeviceBuffers

PATIENCE_S = 60


@pytest.fixture
def opened(tiny_bundle):
    bundle = read_bundle(tiny_bundle)
    path = bundle.network_path(bundle.networks[0])
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.fixture
def shapes_run(monkeypatch):
    """Note the shape of every batch that is computed."""
    seen = []
    real = cuda_buffers._Buffers.run

    def run(buffers):
        seen.append(buffers.shape)
        real(buffers)

    monkeypatch.setattr(cuda_buffers._Buffers, "run", run)
    return seen


def _batch(rng, count, *size):
    return rng.uniform(size=(count, 1, *size)).astype(np.float32)


def _expected(opened, batch):
    return opened.run(None, {opened.get_inputs()[0].name: batch})[0]


@pytest.mark.parametrize("pads", [True, False], ids=["padded", "as-they-are"])
def test_results_are_those_of_a_plain_run(opened, rng, pads):
    buffers = DeviceBuffers(onnxruntime, opened, "cpu", pads=pads)
    sizes = [(2, 4, 5, 6), (2, 4, 5, 6), (1, 4, 5, 6), (3, 4, 5, 6), (1, 7, 5, 6), (2, 4, 5, 6)]
    for size in sizes:
        batch = _batch(rng, *size)
        np.testing.assert_array_equal(buffers(batch), _expected(opened, batch))


def test_results_stay_as_they_are_when_the_buffers_are_used_again(opened, rng):
    buffers = DeviceBuffers(onnxruntime, opened, "cpu", pads=True)
    batches = [_batch(rng, 2, 4, 5, 6) for _ in range(3)]
    found = [buffers(batch) for batch in batches]
    for batch, result in zip(batches, found, strict=True):
        np.testing.assert_array_equal(result, _expected(opened, batch))


def test_batches_need_not_be_contiguous(opened, rng):
    buffers = DeviceBuffers(onnxruntime, opened, "cpu", pads=True)
    batch = _batch(rng, 2, 4, 5, 6)[..., ::-1]
    np.testing.assert_array_equal(buffers(batch), _expected(opened, np.ascontiguousarray(batch)))


def test_input_and_output_keep_their_place(opened, rng):
    buffers = DeviceBuffers(onnxruntime, opened, "cpu", pads=True)
    places = set()
    for _ in range(4):
        buffers(_batch(rng, 2, 4, 5, 6))
        (bound,) = buffers._idle
        (output,) = bound._binding.get_outputs()
        places.add((bound._input.data_ptr(), output.data_ptr()))
    assert len(places) == 1


def test_the_rest_of_the_patches_runs_in_the_shape_of_the_others(opened, rng, shapes_run):
    buffers = DeviceBuffers(onnxruntime, opened, "cpu", pads=True)
    for count in (4, 4, 1, 4, 3):
        buffers(_batch(rng, count, 4, 5, 6))
    assert set(shapes_run) == {(4, 1, 4, 5, 6)}


def test_batches_of_another_size_are_not_padded_to_it(opened, rng, shapes_run):
    buffers = DeviceBuffers(onnxruntime, opened, "cpu", pads=True)
    for shape in ((2, 4, 5, 6), (1, 4, 5, 7), (3, 4, 5, 7)):
        buffers(_batch(rng, *shape))
    assert shapes_run == [(2, 1, 4, 5, 6), (1, 1, 4, 5, 7), (3, 1, 4, 5, 7)]


def test_buffers_of_an_earlier_shape_are_given_up(opened, rng):
    buffers = DeviceBuffers(onnxruntime, opened, "cpu", pads=False)
    for count in (1, 2, 3, 2, 1):
        buffers(_batch(rng, count, 4, 5, 6))
        assert [bound.shape[0] for bound in buffers._idle] == [count]


def test_buffers_of_a_failed_run_are_given_up_and_the_next_run_works(opened, rng):
    buffers = DeviceBuffers(onnxruntime, opened, "cpu", pads=True)
    with pytest.raises(Exception, match="invalid dimensions"):
        buffers(np.zeros((1, 3, 2, 2, 2), np.float32))
    assert buffers._idle == []
    batch = _batch(rng, 2, 4, 5, 6)
    np.testing.assert_array_equal(buffers(batch), _expected(opened, batch))


def test_a_result_is_copied_off_while_the_next_run_computes(opened, rng, monkeypatch):
    buffers = DeviceBuffers(onnxruntime, opened, "cpu", pads=True)
    batches = [_batch(rng, 2, 4, 5, 6) for _ in range(2)]
    copying, second_ran = Event(), Event()
    run, download = cuda_buffers._Buffers.run, cuda_buffers._Buffers.download

    def noted_run(bound):
        run(bound)
        if copying.is_set():
            second_ran.set()

    def slow_download(bound):
        if not copying.is_set():
            copying.set()
            assert second_ran.wait(PATIENCE_S), "the next run waits for the copy"
        return download(bound)

    monkeypatch.setattr(cuda_buffers._Buffers, "run", noted_run)
    monkeypatch.setattr(cuda_buffers._Buffers, "download", slow_download)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(buffers, batches[0])
        assert copying.wait(PATIENCE_S)
        second = pool.submit(buffers, batches[1])
        found = [first.result(PATIENCE_S), second.result(PATIENCE_S)]
    for batch, result in zip(batches, found, strict=True):
        np.testing.assert_array_equal(result, _expected(opened, batch))
    assert len(buffers._idle) == 2


def test_runs_of_several_threads_are_one_after_another(opened, rng, monkeypatch):
    buffers = DeviceBuffers(onnxruntime, opened, "cpu", pads=True)
    batches = [_batch(rng, 1, 4, 5, 6) for _ in range(40)]
    run, alone = cuda_buffers._Buffers.run, Lock()

    def lonely_run(bound):
        assert alone.acquire(blocking=False), "two runs at once"
        run(bound)
        alone.release()

    monkeypatch.setattr(cuda_buffers._Buffers, "run", lonely_run)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(buffers, batches))
    for batch, result in zip(batches, found, strict=True):
        np.testing.assert_array_equal(result, _expected(opened, batch))
    assert 1 <= len(buffers._idle) <= 4
