"""One export, from a trained model to a bundle: load, convert, verify, write."""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from deepseg_export.card import write_card
from deepseg_export.errors import MissingPackageError, UnsupportedError
from deepseg_export.families import Checkpoint, nnunet
from deepseg_export.graph import OPSET, to_onnx
from deepseg_export.output import staged_output
from deepseg_export.verify import verify
from deepseg_lite.bundle import MANIFEST_NAME, read_bundle, read_network
from deepseg_lite.errors import OptionError
from deepseg_lite.manifest import manifest_problems
from deepseg_lite.onnx_metadata import append_manifest

logger = logging.getLogger(__name__)

CARD_NAME = "README.md"
_PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime", "dynamic_network_architectures")


def export_nnunet(
    model: Path | Sequence[Path],
    output: Path,
    options: nnunet.Options | None = None,
    *,
    adapt: Callable[[Checkpoint], Checkpoint] | None = None,
    force: bool = False,
) -> Path:
    """Convert a trained nnU-Net v2 model into a bundle.

    Parameters
    ----------
    model : Path, or sequence of Path
        A trained-model folder, a folder above exactly one, or a zip of either. Several are laid
        onto one another first.
    output : Path
        The bundle directory, or a lone ``.onnx`` file for a model with one network.
    options : Options, optional
        Folds, checkpoint, names and facts to record.
    adapt : callable, optional
        Given the model before it is converted: adds to its manifest, or refuses it.
    force : bool
        Replace a bundle that is there, once the new one is complete.

    Returns
    -------
    output : Path
        The bundle, read back and checked.

    Raises
    ------
    ExportError
        If the model cannot be read, converted or verified. Nothing is left behind.
    OutputError
        If the bundle cannot be written, or is there already.
    OptionError
        If an option does not fit the model.
    """
    lone_file = output.suffix == ".onnx"
    with staged_output(output, force=force) as staged:
        require_packages()
        checkpoint = nnunet.load(model, options or nnunet.Options())
        if adapt is not None:
            checkpoint = adapt(checkpoint)
        check(checkpoint, lone_file=lone_file)
        if not lone_file:
            staged.mkdir()
        networks, checks = [], []
        for fold, network in checkpoint.networks.items():
            logger.info("Converting fold %s (%d in all)", fold, len(checkpoint.networks))
            onnx = to_onnx(network, checkpoint.input_shape)
            agreement = verify(network, onnx, checkpoint.input_shape, checkpoint.output_shape)
            logger.info("Largest difference to torch: %.2g", agreement.max_abs_error)
            name = "model.onnx" if len(checkpoint.networks) == 1 else f"fold_{fold}.onnx"
            (staged if lone_file else staged / name).write_bytes(onnx)
            networks.append(
                {
                    "fold": fold,
                    "path": name,
                    "sha256": hashlib.sha256(onnx).hexdigest(),
                    "size": len(onnx),
                }
            )
            checks.append({"fold": fold, **agreement._asdict()})
        record = {"versions": package_versions(), "opset": OPSET, "checks": checks}
        manifest = {**checkpoint.manifest, "networks": networks, "export": record}
        write(manifest, staged, lone_file=lone_file)
    return output


def check(checkpoint: Checkpoint, *, lone_file: bool) -> None:
    """Refuse what cannot be written, before the long part begins.

    Raises
    ------
    UnsupportedError
        If the manifest would not be valid; every problem is listed.
    OptionError
        If several networks are to go into one file.
    """
    if lone_file and len(checkpoint.networks) > 1:
        raise OptionError(
            f"The model has {len(checkpoint.networks)} folds "
            f"({', '.join(checkpoint.networks)}) and a lone .onnx file holds one; give a folder "
            "as -o, or one of them with --folds."
        )
    placeholders = [
        {"fold": fold, "path": f"fold_{fold}.onnx", "sha256": "0" * 64, "size": 1}
        for fold in checkpoint.networks
    ]
    record = {"versions": {}, "opset": OPSET, "checks": []}
    problems = manifest_problems(
        {**checkpoint.manifest, "networks": placeholders, "export": record}
    )
    if problems:
        raise UnsupportedError(f"A bundle cannot describe this model: {'; '.join(problems)}.")


def write(manifest: dict[str, Any], staged: Path, *, lone_file: bool) -> None:
    """Add manifest and card to the networks, then read all of it back."""
    text = json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if lone_file:
        staged.write_bytes(append_manifest(staged.read_bytes(), text))
    else:
        (staged / MANIFEST_NAME).write_text(text, encoding="utf-8")
        (staged / CARD_NAME).write_text(write_card(manifest), encoding="utf-8")
    bundle = read_bundle(staged)
    for network in bundle.networks:
        read_network(bundle, network)


def require_packages() -> None:
    """Fail early, and helpfully, when the ``export`` extra is not installed.

    Raises
    ------
    MissingPackageError
        Naming what is missing and how to install it.
    """
    missing = [name for name in _PACKAGES if not _is_importable(name)]
    if missing:
        raise MissingPackageError(
            f"Exporting needs {', '.join(missing)}, which cannot be imported: "
            'pip install "deepseg-lite[export]"'
        )


def package_versions() -> dict[str, str]:
    """Return the versions of what made a bundle."""
    names = {"deepseg_lite": "deepseg-lite", "torch": "torch", "onnx": "onnx"}
    names |= {"onnxscript": "onnxscript", "onnxruntime": "onnxruntime"}
    return {name: _version(distribution) for name, distribution in names.items()}


def _is_importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:  # a checkout on the path, not an installation
        return "unknown"
