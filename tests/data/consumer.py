"""A program of somebody else's on the public API; mypy --strict reads it, nobody runs it."""

from pathlib import Path

import numpy as np

import deepseg_lite


def told(notice: deepseg_lite.Notice) -> None:
    print(notice.code, notice.text, notice.file)


def done(steps: int, of: int) -> None:
    print(steps, "of", of)


def one_image(path: Path) -> tuple[int, ...]:
    segment = deepseg_lite.load("sc_gm_t2star", device="cpu", threads=1, folds=["0"])
    assert isinstance(segment, deepseg_lite.Segmenter)
    image = segment(path, progress=done, notify=told, cancel=lambda: False)
    image.to_filename("labels.nii.gz")
    options = deepseg_lite.limit_memory(segment, [path], "2G", soft=True)
    array = segment(np.zeros((64, 64, 4)), affine=np.eye(4), **options)
    names: list[str] = [label.name for label in segment.bundle.outputs.labels]
    print(names)
    return array.shape


def the_spine(path: str) -> list[str]:
    segment = deepseg_lite.load("totalspineseg")
    assert isinstance(segment, deepseg_lite.SpineSegmenter)
    try:
        return list(segment(path, label_vert=True, iso=True))
    except (deepseg_lite.DeepsegError, deepseg_lite.Cancelled) as error:
        return [str(error)]


def data_set() -> int:
    reports = deepseg_lite.batch("data", "results", "sc_gm_t2star", jobs=2, time_limit=60)
    return len([report["status"] for report in reports])


def bundle(path: Path) -> deepseg_lite.Bundle:
    deepseg_lite.fetch("seg_sc_epi", yes=True, progress=done)
    phantom = deepseg_lite.make_phantom(3, shape=(64, 64, 4))
    print(phantom.image.mean(), deepseg_lite.__version__.split("."))
    return deepseg_lite.read_bundle(path)


def mistakes() -> None:
    deepseg_lite.load("sc_gm_t2star", devise="cpu")  # type: ignore[call-arg]
    deepseg_lite.load("sc_gm_t2star", device=1)  # type: ignore[arg-type]
    deepseg_lite.batch("data", "results", "sc_gm_t2star", jobs=0.5)  # type: ignore[arg-type]
    deepseg_lite.no_such_name  # type: ignore[attr-defined]  # noqa: B018
