"""Bundles: one exported model as data.

A bundle is a directory with ``manifest.json`` and one ONNX file per network, or a lone ``.onnx``
file that carries the manifest in its metadata. ``manifest.schema.json`` describes the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepseg_lite.bundles.files import BundleFile, BundleFiles, check_files, read_manifest
from deepseg_lite.bundles.manifest import manifest_problems
from deepseg_lite.bundles.networks import Network, parse_network
from deepseg_lite.bundles.references import Reference, parse_references
from deepseg_lite.bundles.schemas import frozen, in_words
from deepseg_lite.bundles.workflow import Workflow, parse_workflow
from deepseg_lite.errors import BundleError

CORD_DETECTOR = "cord_detector"
"""The kind of bundle that finds the cord; one that segments names no kind."""
LABEL_MAP = {"suffix": "seg", "kind": "labels"}
"""Suffix of the file of a bundle that names no files."""


@dataclass(frozen=True)
class Inputs:
    """Inputs of the network: channels, orientation (nibabel codes or None) and axis order.

    ``contrasts`` are those that each channel may have, ``invert`` those whose values are negated.
    ``training_orientation`` is that of the training images, where images are taken as they are;
    ``training_spacing`` has their smallest and largest voxel size for each axis of the network.
    """

    channel_names: tuple[str, ...]
    orientation: str | None
    axes: str
    contrasts: tuple[tuple[str, ...], ...] = ()
    invert: tuple[str, ...] = ()
    advice: str | None = None
    spacing: str = "header"
    training_orientation: str | None = None
    training_spacing: tuple[tuple[float, float], ...] | None = None

    def frame(self, *, reorient: bool) -> str | None:
        """Return the orientation that images are brought to; None for their own."""
        return self.training_orientation if reorient else self.orientation


@dataclass(frozen=True)
class SlidingWindow:
    """Patch geometry in network axis order; ``patch_size`` in voxels, 1 first for 2-D networks.

    None in ``patch_size`` or ``stride`` is the whole axis. ``patch_normalization`` is what happens
    to each patch before the network sees it.
    """

    patch_size: tuple[int | None, ...]
    placement: str
    importance_map: str
    overlap: tuple[float, ...] = ()
    stride: tuple[int | None, ...] = ()
    sigma_scale: tuple[float, ...] = ()
    padding: tuple[str, float] = ("constant", 0.0)
    patch_normalization: str | None = None
    batch_size: int = 1


@dataclass(frozen=True)
class Label:
    """A named structure and the values of the label map that belong to it."""

    name: str
    values: tuple[int, ...]


@dataclass(frozen=True)
class OutputFile:
    """One file of a result: a mask of some labels, the label map, or the probability of a label."""

    suffix: str
    kind: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outputs:
    """Outputs: the way from scores to labels or maps, and the files; see the manifest's schema."""

    activation: str
    labels: tuple[Label, ...]
    regions_class_order: tuple[int, ...] | None
    files: tuple[OutputFile, ...]
    values: str | None = None
    channels: int | None = None
    before_undo: tuple[Mapping[str, Any], ...] = ()
    threshold_at: str | None = None

    @property
    def channel_count(self) -> int:
        """Output channels of the network: background counts as one for softmax."""
        return self.channels or len(self.labels) + (self.activation == "softmax")

    @property
    def are_maps(self) -> bool:
        """Whether a result is one map for each label, rather than a label map."""
        return self.values == "maps"

    @property
    def label_values(self) -> frozenset[int]:
        """Values that a label map can hold, besides 0."""
        listed = (value for label in self.labels for value in label.values)
        return frozenset((*listed, *(self.regions_class_order or ())))

    @property
    def max_value(self) -> int:
        """Largest value a label map can hold."""
        return max(0, *self.label_values)


@dataclass(frozen=True)
class CordCrop:
    """The crop around the cord: the bundle that finds it, and mm added on each face."""

    detector: str
    padding_mm: Mapping[str, float]


@dataclass(frozen=True)
class Prior:
    """A model that runs first: its bundle, and the channels it is given."""

    bundle: str
    channels: tuple[str, ...]


@dataclass(frozen=True)
class Center:
    """Where the cord is to be looked for on request, and what that was measured on.

    ``task`` finds it on the image. ``position`` is where it usually is: how far across the field of
    view towards L, A or S, 0 to 1; other axes have their middle.
    """

    source: str
    task: str | None = None
    position: Mapping[str, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Bundle(BundleFiles):
    """A validated manifest and where its files are: a model that segments."""

    inputs: Inputs
    preprocessing: tuple[Mapping[str, Any], ...]
    sliding_window: SlidingWindow
    networks: tuple[Network, ...]
    ensemble: str
    mirror_axes: tuple[int, ...]
    outputs: Outputs
    postprocessing: tuple[Mapping[str, Any], ...]
    cord_crop: CordCrop | None = None
    prior: Prior | None = None
    center: Center | None = None
    workflow: Workflow | None = None
    references: tuple[Reference, ...] = ()

    @property
    def reference_files(self) -> tuple[BundleFile, ...]:
        """Every file of a reference case; runs need none of them."""
        return tuple(file for reference in self.references for file in reference.files)

    @property
    def companions(self) -> tuple[str, ...]:
        """Return the names of the bundles that belong to this one: it is of no use without them."""
        prior = (self.prior.bundle,) if self.prior else ()
        return (*prior, self.workflow.second) if self.workflow else prior


def parse_manifest(manifest: Any, path: Path, *, lone_file: bool = False) -> Bundle:
    """Turn a manifest document into a `Bundle`.

    Parameters
    ----------
    manifest : dict
        The JSON document.
    path : Path
        Bundle directory, or the lone ``.onnx`` file.
    lone_file : bool
        Whether ``path`` is a lone file.

    Raises
    ------
    BundleError
        Listing every problem at once.
    """
    if isinstance(manifest, dict) and manifest.get("kind") == CORD_DETECTOR:
        raise BundleError(
            f"{manifest.get('name')} finds the cord for other tasks; it cannot be run by itself."
        )
    problems = manifest_problems(manifest)
    if lone_file and not problems and len(manifest["networks"]) != 1:
        problems = ["networks: a lone .onnx file holds exactly one network"]
    if lone_file and not problems and "references" in manifest:
        problems = ["references: a lone .onnx file has no room for their files"]
    if lone_file and not problems and manifest["networks"][0].get("forms"):
        problems = ["networks: a lone .onnx file holds the canonical form alone"]
    if problems:
        raise BundleError(
            f"{path} has an invalid manifest: {in_words(problems)}. Export the model again."
        )
    return Bundle(
        name=manifest["name"],
        version=manifest["version"],
        inputs=Inputs(**frozen(manifest["inputs"])),
        preprocessing=tuple(manifest["preprocessing"]),
        sliding_window=_parse_window(manifest["sliding_window"]),
        networks=tuple(map(parse_network, manifest["networks"])),
        ensemble=manifest["ensemble"],
        mirror_axes=tuple(manifest["mirror_axes"]),
        outputs=_parse_outputs(manifest["outputs"]),
        postprocessing=tuple(manifest["postprocessing"]),
        manifest=manifest,
        path=path,
        lone_file=lone_file,
        cord_crop=CordCrop(**manifest["cord_crop"]) if manifest.get("cord_crop") else None,
        prior=Prior(**frozen(manifest["prior"])) if "prior" in manifest else None,
        center=Center(**manifest["center"]) if "center" in manifest else None,
        workflow=parse_workflow(manifest["workflow"]) if "workflow" in manifest else None,
        references=parse_references(manifest),
    )


def _parse_outputs(outputs: Mapping[str, Any]) -> Outputs:
    facts = frozen({"files": [LABEL_MAP], **outputs})
    facts["labels"] = tuple(Label(**frozen(label)) for label in facts["labels"])
    facts["files"] = tuple(OutputFile(**frozen(file)) for file in facts["files"])
    return Outputs(**facts)


def _parse_window(window: Mapping[str, Any]) -> SlidingWindow:
    facts = frozen(dict(window))
    overlap = facts.get("overlap", ())
    if not isinstance(overlap, tuple):
        facts["overlap"] = (float(overlap),) * 3
    if "padding" in facts:
        facts["padding"] = (facts["padding"]["mode"], float(facts["padding"]["value"]))
    return SlidingWindow(**facts)


def read_bundle(path: Path | str) -> Bundle:
    """Read and validate a bundle; the networks themselves are not opened.

    Parameters
    ----------
    path : path
        A bundle directory or a lone ``.onnx`` file.

    Raises
    ------
    BundleNotFoundError
        If there is nothing at ``path``, or nothing that is a bundle.
    BundleError
        If the manifest is invalid; every problem is listed.
    ChecksumError
        If a network is missing or has another size than recorded.
    """
    path = Path(path)
    manifest, lone_file = read_manifest(path)
    bundle = parse_manifest(manifest, path, lone_file=lone_file)
    check_files(bundle)
    return bundle


def select_networks(bundle: Bundle, folds: Sequence[str] | None) -> tuple[Network, ...]:
    """Return the networks of the named folds, in the bundle's order; all for None."""
    if folds is None:
        return bundle.networks
    known = [network.fold for network in bundle.networks]
    unknown = [fold for fold in folds if fold not in known]
    if unknown or not folds:
        raise BundleError(
            f"{bundle.name} has no fold {', '.join(unknown) or '(none given)'}; "
            f"it has {', '.join(known)}."
        )
    return tuple(network for network in bundle.networks if network.fold in folds)
