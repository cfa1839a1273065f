"""Variants of a bundle in other precisions: made, compared with it, and written or refused."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deepseg_export.packages import package_versions, require_packages
from deepseg_export.quantize.agreement import check_gate
from deepseg_export.quantize.half import to_half, to_half_weights
from deepseg_export.quantize.int8 import to_int8
from deepseg_export.quantize.ranges import Ranges
from deepseg_export.quantize.request import Request, check_request
from deepseg_export.quantize.runs import agreements, exact_results, observing, segment_all
from deepseg_export.writing.bundle import write_bundle
from deepseg_export.writing.output import staged_output
from deepseg_lite.bundles.bundle import Bundle, read_bundle
from deepseg_lite.bundles.files import read_network
from deepseg_lite.bundles.networks import Network
from deepseg_lite.errors import OptionError

logger = logging.getLogger(__name__)

PACKAGES = ("onnx", "onnxruntime")


def quantize(path: Path, output: Path, request: Request, *, force: bool = False) -> Path:
    """Write a bundle with variants in other precisions.

    Parameters
    ----------
    path : Path
        Bundle directory; its networks in float32 stay as they are, or are left out.
    output : Path
        The same, or another one to make; variants of these precisions that are there are replaced.
    request : Request
        What is to be made.
    force : bool
        Replace a bundle that is there, once the new one is complete.

    Returns
    -------
    output : Path
        The bundle, read back and checked.

    Raises
    ------
    QuantizationError
        If a variant cannot be made, or is below its gate; the figures are shown. Nothing is
        written.
    OptionError
        If nothing is asked for, or there are no images to compare on.
    OutputError
        If the bundle cannot be written, or is there already.
    """
    bundle = read_bundle(path)
    check_request(bundle, request)
    gate = request.gate.describe(bundle.outputs) if request.gate else None
    with staged_output(output, force=force) as staged:
        require_packages(PACKAGES)
        staged.mkdir()
        for file in filter(Path.is_file, path.iterdir()):
            shutil.copy2(file, staged)
        for listed in bundle.reference_files:
            (staged / listed.path).parent.mkdir(exist_ok=True)
            shutil.copy2(path / listed.path, staged / listed.path)
        ranges = {network.sha256: Ranges() for network in bundle.networks}
        segment_all(bundle, request.calibrate, request, observing(bundle, ranges))
        if request.calibrate and not all(seen.patches for seen in ranges.values()):
            raise OptionError(
                "the images to calibrate on show one value throughout; give images like those the "
                "model is for."
            )
        references = exact_results(bundle, request) if gate else {}
        manifest = dict(bundle.manifest)
        for precision, convert in _converters(request, ranges).items():
            logger.info("Making %s", precision)
            manifest = _with_variant(bundle, manifest, staged, precision, convert)
            write_bundle(manifest, staged, lone_file=False)
            record: dict[str, Any] = {
                "versions": package_versions(PACKAGES),
                "gate": gate,
                "agreement": [],
            }
            if precision == "int8":
                record["patches"] = min(seen.patches for seen in ranges.values())
            if gate:
                made = read_bundle(staged)
                found = list(agreements(bundle, made, precision, request, references))
                check_gate(precision, gate, found)
                record["agreement"] = found
            records = manifest.get("precisions", {})
            manifest = {**manifest, "precisions": {**records, precision: record}}
        final = _alone(manifest, staged) if request.only else manifest
        write_bundle(final, staged, lone_file=False)
    return output


def _converters(
    request: Request, ranges: Mapping[str, Ranges]
) -> dict[str, Callable[[bytes, Network], bytes]]:
    """Return the precisions that are wanted, and how a network gets to each."""
    made: dict[str, Callable[[bytes, Network], bytes]] = {}
    if request.calibrate:
        made["int8"] = lambda onnx_file, network: to_int8(onnx_file, ranges[network.sha256])
    if request.fp16:
        made["fp16"] = lambda onnx_file, _: to_half(onnx_file)
    if request.fp16_weights:
        made["fp16-weights"] = lambda onnx_file, _: to_half_weights(onnx_file)
    return made


def _with_variant(
    bundle: Bundle,
    manifest: Mapping[str, Any],
    staged: Path,
    precision: str,
    convert: Callable[[bytes, Network], bytes],
) -> dict[str, Any]:
    """Write each network in a precision; return the manifest with those files."""
    networks = []
    for network, facts in zip(bundle.networks, manifest["networks"], strict=True):
        content = convert(read_network(bundle, network), network)
        name = f"{Path(network.path).stem}.{precision}.onnx"
        file = {
            "precision": precision,
            "path": name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
        }
        (staged / name).write_bytes(content)
        others = [each for each in facts.get("variants", ()) if each["precision"] != precision]
        networks.append({**facts, "variants": [*others, file]})
    return {**manifest, "networks": networks}


def _alone(manifest: Mapping[str, Any], staged: Path) -> dict[str, Any]:
    """Remove all networks but the variants made last; return the manifest without them."""
    networks = []
    for network in manifest["networks"]:
        *others, made = network["variants"]
        for file in (network, *others, *network.get("forms", ())):
            (staged / file["path"]).unlink()
        kept = {key: network[key] for key in network if key not in ("variants", "forms")}
        networks.append({**kept, **made})
    precision = made["precision"]
    precisions = {precision: manifest["precisions"][precision]}
    return {**manifest, "networks": networks, "precisions": precisions}
