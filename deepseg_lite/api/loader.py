"""Opening a model by name or path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deepseg_lite.api.segmenter import Segmenter
from deepseg_lite.bundles.bundle import select_networks
from deepseg_lite.engines.engine import choose_engine
from deepseg_lite.errors import OptionError
from deepseg_lite.machine import available_threads
from deepseg_lite.store.tasks import find_bundle

if TYPE_CHECKING:
    from deepseg_lite.api.spine_segmenter import SpineSegmenter


SINGLE_FOLD = "1"  # the Spinal Cord Toolbox's choice


def load(
    task_or_bundle: str | Path,
    *,
    device: str = "auto",
    precision: str = "fp32",
    threads: int | None = None,
    folds: Sequence[str] | None = None,
    single_fold: bool = False,
    keep_folds_loaded: bool = False,
    open_networks: bool = True,
    release: str | None = None,
    retired: bool = False,
) -> Segmenter | SpineSegmenter:
    """Open a model and keep it warm.

    Parameters
    ----------
    task_or_bundle : str or path
        A task's name (``deepseg-lite list``), a bundle directory, or a lone ``.onnx`` file.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``openvino``, or the name of another of ONNX Runtime's
        providers (`deepseg_lite.engines.engine.DEVICES`); it fails when that is not usable.
        ``auto`` takes CUDA where it works, else OpenVINO where it is installed, else ONNX Runtime
        on the CPU.
    precision : {"fp32", "bf16", "int8", "fp16", "fp16-weights"}
        All but ``fp32`` change a few voxels. ``bf16`` is for OpenVINO alone; the others are for
        bundles that have them, ``int8`` on CPUs and ``fp16`` on GPUs.
    threads : int, optional
        CPU threads; default what the affinity mask and the cgroup allow.
    folds : sequence of str, optional
        Folds to combine; default all the bundle has.
    single_fold : bool
        Fold 1 alone, or the first where there is no fold 1: a fraction of the work.
    keep_folds_loaded : bool
        Keep the networks of all folds in memory. Otherwise a model of several folds opens them one
        after another in every call.
    open_networks : bool
        Open networks that stay in memory now. Otherwise the first call opens them.
    release : str, optional
        Release of the task's model; default the one that is here, the newest of several.
    retired : bool
        Open a task that was retired all the same.

    Returns
    -------
    segmenter : Segmenter or SpineSegmenter
        What is called with images: one network that segments, or a workflow around two.

    Raises
    ------
    BundleError
        If the name, the bundle or a fold is unknown or invalid.
    OptionError
        If the task is retired and was not asked for as such, or has no such release; or the
        device or the bundle has no such precision.
    ProviderError
        If the device is not usable.

    Examples
    --------
    >>> import deepseg_lite
    >>> segment = deepseg_lite.load("sc_gm_t2star", device="cpu")
    >>> [label.name for label in segment.bundle.outputs.labels]
    ['sc', 'gm']
    """
    if threads is not None and threads < 1:
        raise OptionError(f"threads is {threads}; at least 1 is needed.")
    if single_fold and folds is not None:
        raise OptionError("single_fold and folds were given; one of them is needed.")
    bundle, task = find_bundle(str(task_or_bundle), release=release, retired=retired)
    if single_fold:
        known = [network.fold for network in bundle.networks]
        folds = [SINGLE_FOLD if SINGLE_FOLD in known else known[0]]
    engine, networks = choose_engine(device, precision), select_networks(bundle, folds)
    for network in networks:
        engine.file(bundle, network)  # before any work: folds may be opened one by one
    segmenter = Segmenter(
        bundle=bundle,
        task=task,
        engine=engine,
        threads=threads or available_threads(),
        networks=networks,
        keep_folds_loaded=keep_folds_loaded,
    )
    if open_networks:
        segmenter.open()
    if bundle.workflow is None:
        return segmenter
    # It takes a fifth of a second, and few models need it.
    from deepseg_lite.api.spine_segmenter import SpineSegmenter

    return SpineSegmenter(segmenter, bundle.workflow)
