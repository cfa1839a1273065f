"""The networks of sc-crop, which find the cord: official ONNX files to a detector bundle.

They are ONNX already, so nothing is converted; torch is not needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import deepseg_lite
from deepseg_export.errors import CheckpointError, UnsupportedError
from deepseg_export.writing.output import staged_output
from deepseg_lite.bundles.bundle import CORD_DETECTOR
from deepseg_lite.bundles.detector import read_detector
from deepseg_lite.bundles.files import MANIFEST_NAME, read_network
from deepseg_lite.engines.onnxruntime_network import CPU, import_onnxruntime
from deepseg_lite.store.arrival import CARD_NAME
from deepseg_lite.store.official import SC_CROP

NAME, RELEASE = SC_CROP.bundle, SC_CROP.version
URL = SC_CROP.urls[0].rpartition("/")[0]
OFFICIAL_SHA256 = {
    "det_model.onnx": "052abe794f3878422e2acc2df4e4942f995aab3788ad513bbcc92b66b16ee9c0",
    "cls_model.onnx": "25fc911e501ae944dbfb66546e36d32f26021e35506c2495b0f71d4ff6bf3d6b",
}
IMAGE_SIZE = 320
SETTINGS = {
    "slice_spacing_mm": 10.0,
    "in_plane_spacing_mm": 1.0,
    "percentiles": [0.5, 99.5],
    "image_size": IMAGE_SIZE,
    "confidence": 0.1,
    "regularization": "cls",
    "classifier_threshold": 0.5,
    "padding_mm": {
        "superior": 40.0,
        "inferior": 100.0,
        "left": 15.0,
        "right": 15.0,
        "anterior": 15.0,
        "posterior": 22.0,
    },
}
"""As sc-crop 0.12.1 uses the networks; the letterbox follows from the detector's input."""

_CARD = """# {name} {version}

Finds the spinal cord, so that models of cropped images get what they were trained on. It cannot be
run by itself.

## Task and labels

A detector draws a box around the cord in each slice across the body, 10 mm apart; a classifier says
which slices show cord. The box around all of that, padded, is what such a model segments.

## Input expectations

One 3-D image of any contrast and orientation.

## Source

- Release: sc-crop {version}, {url}
- Licence of the weights: not stated. The package sc-crop is MIT. The weights were trained with
  Ultralytics, which is AGPL-3.0; whether that reaches the weights is disputed.
- **Do not pass these files on.** Whoever needs them gets them from the release.

{files}

## Conversion

None: the networks are the release's own files. Put together by `deepseg-export` with {made_with}.

## Agreement with the original

What is done around the networks is compared with sc-crop 0.12.1 by
`tests/parity/test_cord_crop.py`.

## Limits

For research, not a medical device. False detections occur; look at the box that a run writes.
"""


def export_cord_detector(
    detector: Path,
    classifier: Path,
    output: Path,
    *,
    expected: Mapping[str, str] = OFFICIAL_SHA256,
    force: bool = False,
) -> Path:
    """Make the bundle that finds the cord of sc-crop's two networks.

    Parameters
    ----------
    detector, classifier : Path
        ``det_model.onnx`` and ``cls_model.onnx`` of the release.
    output : Path
        The bundle directory.
    expected : mapping
        SHA-256 by the official names of the two files; other than the official ones only for
        stand-ins.
    force : bool
        Replace a bundle that is there, once the new one is complete.

    Returns
    -------
    output : Path
        The bundle, read back and checked.

    Raises
    ------
    CheckpointError
        If a file cannot be read or is not the expected one.
    UnsupportedError
        If the networks take or return something else than the runtime knows.
    OutputError
        If the bundle cannot be written, or is there already.
    """
    with staged_output(output, force=force) as staged:
        names = dict(zip(("detector", "classifier"), OFFICIAL_SHA256, strict=True))
        contents = {
            role: _read(file, names[role], expected[names[role]])
            for role, file in (("detector", detector), ("classifier", classifier))
        }
        letterbox = _letterbox(contents["detector"])
        _check_classifier(contents["classifier"])
        staged.mkdir()
        for role, content in contents.items():
            (staged / f"{role}.onnx").write_bytes(content)
        manifest = _manifest(contents, names, letterbox)
        text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        (staged / MANIFEST_NAME).write_text(text, encoding="utf-8")
        (staged / CARD_NAME).write_text(_card(manifest), encoding="utf-8")
        bundle = read_detector(staged)
        for network in bundle.networks:
            read_network(bundle, network)
    return output


def _read(file: Path, name: str, expected: str) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{file} cannot be read ({error.strerror}); {name} of {URL} is needed."
        ) from error
    if (found := _sha256(content)) != expected:
        raise CheckpointError(
            f"{file} has the SHA-256 {found[:12]}..., {name} of sc-crop {RELEASE} has "
            f"{expected[:12]}...; get it again from {URL}."
        )
    return content


def _letterbox(content: bytes) -> str:
    """Return how the detector's pictures are padded, by the size of its input."""
    *_, height, width = _checked_shape(content, "det_model.onnx", (None, 6))
    return "square" if isinstance(height, int) or isinstance(width, int) else "minimum_rectangle"


def _check_classifier(content: bytes) -> None:
    _checked_shape(content, "cls_model.onnx", (2,))


def _checked_shape(content: bytes, name: str, output: tuple[int | None, ...]) -> list[Any]:
    """Return the input shape of a network after running it on one gray picture."""
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what is wrong is told below
    try:
        session = ort.InferenceSession(content, options, providers=[CPU])
        (port,) = session.get_inputs()
        gray = np.full((1, 3, IMAGE_SIZE, IMAGE_SIZE), 0.5, np.float32)
        shape = session.run(None, {port.name: gray})[0].shape
    except Exception as error:  # ONNX Runtime's exceptions have no common base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UnsupportedError(
            f"{name} is not a network of one picture 3 x {IMAGE_SIZE} x {IMAGE_SIZE}: {reason}."
        ) from error
    wanted = (1, *output)
    if len(shape) != len(wanted) or any(
        size not in (None, found) for size, found in zip(wanted, shape, strict=True)
    ):
        raise UnsupportedError(
            f"{name} returns an array of shape {shape} for one picture; "
            f"({', '.join('N' if size is None else str(size) for size in wanted)}) is needed."
        )
    return list(port.shape)


def _manifest(
    contents: Mapping[str, bytes], names: Mapping[str, str], letterbox: str
) -> dict[str, Any]:
    return {
        "schema": 1,
        "kind": CORD_DETECTOR,
        "name": NAME,
        "version": RELEASE,
        "networks": {
            role: {"path": f"{role}.onnx", "sha256": _sha256(content), "size": len(content)}
            for role, content in contents.items()
        },
        "settings": {**SETTINGS, "letterbox": letterbox},
        "source": {
            "family": "sc_crop",
            "urls": [f"{URL}/{name}" for name in names.values()],
            "release": RELEASE,
            "license": None,
            "citation": None,
            "details": {"used as by": "sc-crop 0.12.1", "trained with": "Ultralytics (AGPL-3.0)"},
            "files": {names[role]: _sha256(content) for role, content in contents.items()},
        },
        "export": {
            "versions": {
                "deepseg_lite": deepseg_lite.__version__,
                "onnxruntime": import_onnxruntime().__version__,
            }
        },
    }


def _card(manifest: Mapping[str, Any]) -> str:
    versions = manifest["export"]["versions"].items()
    rows = [f"| `{name}` | `{digest}` |" for name, digest in manifest["source"]["files"].items()]
    return _CARD.format(
        name=manifest["name"],
        version=manifest["version"],
        url=URL,
        made_with=", ".join(f"{name} {number}" for name, number in versions),
        files="\n".join(["| made from | SHA-256 |", "| --- | --- |", *rows]),
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
