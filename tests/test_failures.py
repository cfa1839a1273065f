"""Failures of libraries: what they say, and the advice that helps (fault 28)."""

from __future__ import annotations

import pytest

from deepseg_lite.failures import is_out_of_memory, why_not_loaded

SHORT = [
    MemoryError(),
    RuntimeError("std::bad_alloc"),
    RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bad allocation"),
    RuntimeError("BFCArena::AllocateRawInternal Available memory of 0 is smaller than requested"),
    RuntimeError("Failed to allocate memory for requested buffer of size 4294967296"),
    RuntimeError("CUDA failure 2: out of memory"),
    RuntimeError("CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("Resource temporarily unavailable"),
    RuntimeError("can't alloc"),
    RuntimeError("OpenBLAS error: Memory allocation still failed after 10 retries, giving up."),
    OSError(12, "Cannot allocate memory"),
    ImportError("libscipy_openblas64_.so: failed to map segment from shared object"),
    ImportError("numpy: please read this\n\nOriginal error was: x.so: failed to map segment from"),
]


@pytest.mark.parametrize("error", SHORT, ids=lambda error: str(error)[:30])
def test_too_little_memory_is_known_in_every_librarys_words(error):
    assert is_out_of_memory(error)
    assert "too little memory" in why_not_loaded(error)


def test_what_an_error_came_from_counts():
    error = ValueError("the voxels cannot be read")
    error.__cause__ = MemoryError()
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    ("said", "which"),
    [
        ("libgomp.so.1: cannot open shared object file: No such file", r" (libgomp.so.1)"),
        ("/usr/lib/libx.so: cannot open shared object file", " (libx.so)"),
        ("DLL load failed while importing onnxruntime_pybind11_state", ""),
    ],
)
def test_a_missing_library_of_the_system_is_named(said, which):
    assert f"a library of the system is missing{which}; " in why_not_loaded(ImportError(said))
    assert not is_out_of_memory(ImportError(said))


def test_what_is_not_installed_is_neither():
    assert why_not_loaded(ImportError("No module named 'onnxruntime'")) is None
