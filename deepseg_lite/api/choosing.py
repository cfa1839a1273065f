"""Choice of an engine for a model, by what was measured here or by what the bundle has."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from deepseg_lite.api import calibration
from deepseg_lite.bundles.bundle import Bundle
from deepseg_lite.bundles.files import CANONICAL
from deepseg_lite.bundles.networks import Network
from deepseg_lite.engines.engine import Engine, choose_engine, cpu_rivals, device_of
from deepseg_lite.machine import available_threads

_logger = logging.getLogger("deepseg_lite")


def engine_for(
    bundle: Bundle, network: Network, device: str, precision: str, form: str, threads: int
) -> Engine:
    """Return the engine of a model.

    Where ``auto`` has to choose between OpenVINO and ONNX Runtime on the CPU, the faster one is
    taken if both were measured here with a patch of this network, with this number of threads or
    the nearest one; ``deepseg-lite bench --device cpu,openvino`` measures them. Otherwise
    ONNX Runtime is taken for networks that have a form for it, and OpenVINO for all others.

    Parameters
    ----------
    bundle : Bundle
        The model.
    network : Network
        One of its networks, which stands for all.
    device, precision, form
        As `deepseg_lite.load` takes them.
    threads : int
        CPU threads.

    Raises
    ------
    OptionError, ProviderError
        As `choose_engine`; or the bundle lacks the precision.
    """
    rivals = cpu_rivals(precision) if device == "auto" else ()
    if not rivals:
        return replace(choose_engine(device, precision), form=form)
    rivals = tuple(replace(rival, form=form) for rival in rivals)
    openvino, onnxruntime = rivals
    if seconds := _measured(rivals, network, threads):
        chosen = min(rivals, key=lambda rival: seconds[rivals.index(rival)])
        figures = (
            f"{device_of(rival)} {each:.3g} s" for rival, each in zip(rivals, seconds, strict=True)
        )
        why = f"a patch measured here: {', '.join(figures)}"
    else:
        has_form = onnxruntime.file(bundle, network).form != CANONICAL
        chosen = onnxruntime if has_form else openvino
        why = f"not measured here; the networks have {'a' if has_form else 'no'} form for cpu"
    engine = choose_engine(device_of(chosen), precision)
    _logger.info("auto takes %s for %s: %s.", device_of(engine), bundle.name, why)
    return replace(engine, form=form, why=why)


def _measured(engines: Sequence[Engine], network: Network, threads: int) -> list[float]:
    """Return the seconds of the same patch on each engine, nothing unless all are known."""
    known = calibration.read()
    counts = range(1, max(threads, available_threads()) + 1)
    for count in sorted(counts, key=lambda count: abs(count - threads)) if known else ():
        setups = (calibration.setup_of(engine, count, network) for engine in engines)
        found = [known.get(setup, calibration.Known()).measured for setup in setups]
        there = [each for each in found if each is not None]
        if len(there) == len(engines) and len({each.voxels for each in there}) == 1:
            return [each.seconds for each in there]
    return []
