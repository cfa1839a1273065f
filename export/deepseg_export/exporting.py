"""One export, from a trained model to a bundle: load, convert, verify, write."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepseg_export.architectures.checking import check_direct
from deepseg_export.architectures.network import DirectNetwork
from deepseg_export.architectures.onnx_file import write_onnx
from deepseg_export.errors import CheckpointError, UnsupportedError
from deepseg_export.families.checkpoint import Checkpoint, ReadyGraph
from deepseg_export.families.options import Options
from deepseg_export.families.table import FAMILIES
from deepseg_export.forms import with_forms
from deepseg_export.network.conversion import OPSET, to_onnx
from deepseg_export.network.verify import verify
from deepseg_export.packages import GRAPH_PACKAGES, package_versions, require_packages
from deepseg_export.reading.checkpoint import file_sha256
from deepseg_export.references.making import with_references
from deepseg_export.references.original import References, references_of
from deepseg_export.references.request import Request
from deepseg_export.writing.bundle import write_bundle
from deepseg_export.writing.output import staged_output
from deepseg_lite.bundles.bundle import read_bundle
from deepseg_lite.bundles.manifest import manifest_problems
from deepseg_lite.errors import DeepsegError, OptionError

logger = logging.getLogger(__name__)

_CACHES = "TORCHINDUCTOR_CACHE_DIR"


def export(
    load: Callable[[], Checkpoint],
    output: Path,
    *,
    adapt: Callable[[Checkpoint], Checkpoint] | None = None,
    references: References | None = None,
    force: bool = False,
) -> Path:
    """Convert a trained model into a bundle.

    Parameters
    ----------
    load : callable
        Reads the model.
    output : Path
        The bundle directory, or a lone ``.onnx`` file for a model with one network.
    adapt : callable, optional
        Given the model before it is converted: adds to its manifest, or refuses it.
    references : callable, optional
        Given the bundle and a folder for what does not stay: writes reference cases into it, and
        returns their entries of the manifest; none where it has no case.
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
    if lone_file and references is not None:
        raise OptionError(
            "a lone .onnx file has no room for reference cases; give a folder as -o, or leave "
            "--reference out."
        )
    with staged_output(output, force=force) as staged, _caches_in(staged.parent / "caches"):
        checkpoint = _loaded(load)
        if adapt is not None:
            checkpoint = adapt(checkpoint)
        check(checkpoint, lone_file=lone_file)
        if not lone_file:
            staged.mkdir()
        networks, checks, graphs = [], [], []
        for fold, network in checkpoint.networks.items():
            logger.info("Converting fold %s (%d in all)", fold, len(checkpoint.networks))
            shapes = checkpoint.input_shape, checkpoint.output_shape
            graph = convert(network, *shapes, folder=staged.parent)
            for against, agreement in graph.agreements.items():
                logger.info("Largest difference from %s: %.2g", against, agreement.max_abs_error)
                checks.append(
                    {"fold": fold, "against": against, **agreement._asdict(), **graph.facts}
                )
            name = "model.onnx" if len(checkpoint.networks) == 1 else f"fold_{fold}.onnx"
            path = staged if lone_file else staged / name
            with path.open("wb") as opened:
                opened.writelines(graph.parts())
            facts = {
                "fold": fold,
                "path": name,
                "sha256": file_sha256(path),
                "size": path.stat().st_size,
            }
            networks.append(facts if graph.flop is None else {**facts, "flop": graph.flop})
            graphs.append(graph)
        frameworks = ["torch"] if any("torch" in graph.agreements for graph in graphs) else []
        record = {
            "versions": package_versions((*frameworks, *GRAPH_PACKAGES)),
            "opset": max(graph.opset for graph in graphs),
            "checks": checks,
        }
        manifest = {**checkpoint.manifest, "networks": networks, "export": record}
        del checkpoint, network, graph, graphs  # their weights are in files by now
        if not lone_file:
            manifest = with_forms(manifest, staged)
        write_bundle(manifest, staged, lone_file=lone_file)
        if references is not None:
            entries = references(read_bundle(staged), staged.parent)
            if entries:
                write_bundle(with_references(manifest, entries), staged, lone_file=False)
    return output


@contextmanager
def _caches_in(folder: Path) -> Iterator[None]:
    """Have torch keep what it compiles in a folder that goes with the export, not in TMPDIR."""
    if _CACHES in os.environ:  # the user has chosen one
        yield
        return
    os.environ[_CACHES] = str(folder)
    try:
        yield
    finally:
        del os.environ[_CACHES]


def _loaded(load: Callable[[], Checkpoint]) -> Checkpoint:
    """Return the model, or an error of one line for whatever its files make readers raise."""
    try:
        return load()
    except DeepsegError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:150].rstrip(".")
        raise CheckpointError(
            f"The model cannot be understood: {type(error).__name__}, {reason}; get it again."
        ) from error


def convert(
    network: Any,
    input_shape: tuple[int | None, ...],
    output_shape: tuple[int | None, ...],
    *,
    folder: Path | None = None,
) -> ReadyGraph:
    """Return a verified ONNX file of a network; one that is ONNX already stays as it is.

    A `DirectNetwork` is written without torch, and compared with it where it has an original;
    ``folder`` has room for another copy of it for a while.
    """
    if isinstance(network, ReadyGraph):
        return network
    if isinstance(network, DirectNetwork):
        file = write_onnx(network, input_shape, output_shape)
        agreements = {"numpy": check_direct(network, file, input_shape, output_shape, folder)}
        graph = ReadyGraph(file, OPSET, agreements, network.has_free_batch)
        if network.original is not None:
            agreements["torch"] = verify(network.original(), graph.onnx, input_shape, output_shape)
        return graph
    onnx = to_onnx(network, input_shape)
    agreements = {"torch": verify(network, onnx, input_shape, output_shape)}
    return ReadyGraph(onnx, OPSET, agreements, has_free_batch=True)


def export_model(
    family: str,
    model: Path | Sequence[Path],
    output: Path,
    options: Options | None = None,
    *,
    adapt: Callable[[Checkpoint], Checkpoint] | None = None,
    reference: Request | None = None,
    force: bool = False,
) -> Path:
    """Convert a trained model of a family; see `export` and `families.table.FAMILIES`.

    ``options`` are of the family's type. ``reference`` asks for reference cases, whose labels the
    family's original software makes unless they are given.
    """
    row = FAMILIES[family]
    given = row.options() if options is None else options
    require_packages(row.packages(given))
    references = None if reference is None else references_of(row.original, model, given, reference)
    return export(
        lambda: row.load(model, given), output, adapt=adapt, references=references, force=force
    )


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
