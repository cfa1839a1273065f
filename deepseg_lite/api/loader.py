"""Loader: opens a model by name or path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from deepseg_lite.api.choosing import engine_for
from deepseg_lite.api.load_options import LoadOptions
from deepseg_lite.api.segmenter import Segmenter
from deepseg_lite.bundles.bundle import select_networks
from deepseg_lite.errors import OptionError
from deepseg_lite.machine import available_threads
from deepseg_lite.option import complete, takes
from deepseg_lite.store.tasks import find_bundle

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from deepseg_lite.api.spine_segmenter import SpineSegmenter


SINGLE_FOLD = "1"  # the Spinal Cord Toolbox's choice


@takes(LoadOptions)
def load(task_or_bundle: str | Path, **options: Unpack[LoadOptions]) -> Segmenter | SpineSegmenter:
    """Open a model and keep it in memory.

    Parameters
    ----------
    task_or_bundle : str or path
        A task's name (``deepseg-lite list``), a bundle directory, or a lone ``.onnx`` file.

    Returns
    -------
    segmenter : Segmenter or SpineSegmenter
        Called with images: one network that segments, or a workflow around two.

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
    given = cast("LoadOptions", complete(LoadOptions, options))
    folds = given["folds"]
    if given["single_fold"] and folds is not None:
        raise OptionError("`single_fold` and `folds` were given; one of them is needed.")
    bundle, task = find_bundle(
        str(task_or_bundle), release=given["release"], retired=given["retired"]
    )
    if given["single_fold"]:
        known = [network.fold for network in bundle.networks]
        folds = [SINGLE_FOLD if SINGLE_FOLD in known else known[0]]
    networks = select_networks(bundle, folds)
    threads = given["threads"] or available_threads()
    engine = replace(
        engine_for(
            bundle, networks[0], given["device"], given["precision"], given["form"], threads
        ),
        spins=given["spinning"] is not False,
    )
    for network in networks:
        engine.file(bundle, network)  # before any work: folds may be opened one by one
    segmenter = Segmenter(
        bundle=bundle,
        task=task,
        engine=engine,
        threads=threads,
        networks=networks,
        keep_folds_loaded=given["keep_folds_loaded"],
    )
    if given["open_networks"]:
        segmenter.open()
    if bundle.workflow is None:
        return segmenter
    # It takes a fifth of a second, and few models need it.
    from deepseg_lite.api.spine_segmenter import SpineSegmenter

    return SpineSegmenter(segmenter, bundle.workflow)
