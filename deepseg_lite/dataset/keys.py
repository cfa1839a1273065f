"""Keys: what the voxels of a result depend on, as one hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepseg_lite.api.model import Model
from deepseg_lite.api.record import recorded_settings
from deepseg_lite.bundles.detector import read_detector
from deepseg_lite.errors import ImageError, reason
from deepseg_lite.inference.settings import Settings
from deepseg_lite.nifti.contents import what_is_missing
from deepseg_lite.nifti.names import pair
from deepseg_lite.store.cache import locate

SAME_VOXELS = ("in_rows", "overlap_cases")
"""Settings that change no voxel."""
_CHUNK = 1 << 20


class Hashes:
    """Hashes of files; those of the last case stay known, for the next task of the same images."""

    def __init__(self) -> None:
        self._known: dict[Path, str] = {}

    def of(self, paths: Sequence[Path]) -> list[str]:
        """Return the SHA-256 of the images of a case; of a pair of files that of both.

        Raises
        ------
        ImageError
            If one cannot be read.
        """
        self._known = {
            path: self._known.get(path) or hash_files(*(pair(path) or (path,))) for path in paths
        }
        return list(self._known[path] for path in paths)


def hash_files(*paths: Path) -> str:
    """Return the SHA-256 of the contents of files, one after another.

    Raises
    ------
    ImageError
        If one cannot be read.
    """
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    for path in paths:
        try:
            with path.open("rb", buffering=0) as file:
                while size := file.readinto(buffer):
                    digest.update(buffer[:size])
        except FileNotFoundError:
            raise ImageError(f"{path} {what_is_missing(path)}.") from None
        except OSError as error:
            raise ImageError(
                f"{path} cannot be read ({reason(error)}); check the path, and the disk."
            ) from error
    return digest.hexdigest()


def model_key(model: Model, settings: Settings) -> dict[str, Any]:
    """Return what the voxels of a result depend on beside the images, as can be JSON."""
    bundles = [_manifest_hash(part.bundle.manifest) for part in model.parts(settings)]
    networks = [
        model.engine.file(part.bundle, network).sha256
        for part in model.parts(settings)
        for network in part.networks
    ]
    crop = model.bundle.cord_crop
    if crop is not None and (path := locate(crop.detector)) is not None:
        bundles.append(_manifest_hash(read_detector(path).manifest))
    kept = recorded_settings(settings)
    return {
        "bundles": bundles,
        "networks": networks,
        "precision": model.engine.precision,
        "settings": {name: value for name, value in kept.items() if name not in SAME_VOXELS},
    }


def case_key(of_model: Mapping[str, Any], hashes: Sequence[str]) -> str:
    """Return the key of a case.

    Parameters
    ----------
    of_model : mapping
        From `model_key`.
    hashes : sequence of str
        SHA-256 of each image.
    """
    text = json.dumps({**of_model, "images": list(hashes)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _manifest_hash(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
