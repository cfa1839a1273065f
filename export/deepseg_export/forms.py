"""Forms of a bundle's networks: added when it is exported, or later."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepseg_export.errors import NoFormError
from deepseg_export.network.rows import making as rows_making
from deepseg_export.network.slices import making as slices_making
from deepseg_export.packages import require_packages
from deepseg_export.reading.checkpoint import file_sha256
from deepseg_export.writing.bundle import write_bundle
from deepseg_export.writing.output import staged_output
from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.errors import OptionError

logger = logging.getLogger(__name__)

PACKAGES = ("onnx", "onnxruntime")


def with_forms(manifest: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write the forms of all networks of a manifest that can have one; return it with them.

    What keeps its canonical form alone is logged, and why.

    Parameters
    ----------
    manifest : mapping
        Of a bundle.
    folder : Path
        Where its networks are.
    """
    networks = []
    for network in manifest["networks"]:
        plain = {key: value for key, value in network.items() if key != "forms"}
        try:
            networks.append({**plain, "forms": [_form_of(manifest, plain, folder)]})
        except NoFormError as error:
            logger.info("%s keeps its canonical form alone: %s.", network["path"], error)
            networks.append(plain)
    return {**manifest, "networks": networks}


def _form_of(
    manifest: Mapping[str, Any], network: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    if network.get("precision", "fp32") != "fp32":
        raise NoFormError(f"it is in {network['precision']}")
    if manifest["sliding_window"].get("batch_size", 1) != 1:
        raise NoFormError("its patches are seen together")
    path = folder / network["path"]
    dimensions = _dimensions(path)
    making = rows_making if dimensions == 2 else slices_making
    output = path.with_name(f"{path.stem}.{making.FORM}.onnx")
    patch = manifest["sliding_window"]["patch_size"][-dimensions:]
    agreement = making.make_form(path, output, None if None in patch else patch)
    return slices_making.describe_form(making.FORM, output, agreement, file_sha256(output))


def _dimensions(path: Path) -> int:
    """Return of how many dimensions a network's maps are."""
    import onnx

    graph = onnx.load(path).graph
    return len(graph.input[0].type.tensor_type.shape.dim) - 2


def optimize(path: Path, output: Path, *, force: bool = False) -> Path:
    """Write a bundle with the forms that its networks can have.

    Parameters
    ----------
    path : Path
        Bundle directory; its checkpoint is not needed.
    output : Path
        The same, or another one to make.
    force : bool
        Replace a bundle that is there, once the new one is complete.

    Returns
    -------
    output : Path
        The bundle, read back and checked.

    Raises
    ------
    OptionError
        If it is a lone file.
    NoFormError
        If none of its networks can have one: why.
    OutputError
        If the bundle cannot be written, or is there already.
    """
    bundle = read_bundle(path)
    if bundle.lone_file:
        raise OptionError(
            f"{path} is a lone .onnx file, which holds the canonical form alone; export a folder."
        )
    require_packages(PACKAGES)
    with staged_output(output, force=force) as staged:
        old = {file.path for network in bundle.networks for file in network.forms}
        shutil.copytree(path, staged, ignore=lambda _, names: old.intersection(names))
        manifest = with_forms(bundle.manifest, staged)
        if not any("forms" in network for network in manifest["networks"]):
            raise NoFormError(f"{path} keeps its canonical form alone; -v says why")
        write_bundle(manifest, staged, lone_file=False)
    return output
