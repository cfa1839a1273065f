"""Task files: what people know about a task, as ``models/<task>/task.toml`` says it.

The form is ``task.schema.json`` beside this module; what a schema cannot say is checked here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from deepseg_lite.bundles.bundle import Label
from deepseg_lite.bundles.publication import Publication
from deepseg_lite.bundles.review import Review, read_review, review_problems
from deepseg_lite.bundles.schemas import frozen, schema_problems
from deepseg_lite.errors import BundleError, OptionError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TASK_FILE = "task.toml"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Input:
    """One image of a case; contrasts in ``invert`` are multiplied by -1, ``advice`` told first."""

    name: str
    contrasts: tuple[str, ...]
    dimensions: tuple[int, ...]
    invert: tuple[str, ...] = ()
    remark: str | None = None
    advice: str | None = None


@dataclass(frozen=True)
class Output:
    """One file that SCT writes; no ``labels`` means all of the last stage."""

    suffix: str
    kind: str
    labels: tuple[str, ...] = ()
    content: str | None = None
    option: str | None = None


@dataclass(frozen=True)
class CropTo:
    """A crop to the box around an earlier stage's result, enlarged per axis."""

    stage: str
    factors: tuple[float, float, float] = (1.0, 1.0, 1.0)
    margin_voxels: int = 0


@dataclass(frozen=True)
class Layout:
    """Expected contents of the archives of a model."""

    configuration: str | None = None
    folder: str | None = None
    dataset: str | None = None
    folds: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """One model of a release. ``archives`` holds the mirrors of every file to download.

    ``manifest_sha256`` is the hash of the manifest of the bundle that is published.
    """

    name: str
    model: str
    family: str
    channels: tuple[str, ...]
    labels: tuple[Label, ...]
    archives: tuple[tuple[str, ...], ...] = ()
    orientation: str | None = None
    crop: bool = False
    crop_to: CropTo | None = None
    layout: Layout = Layout()
    regions_class_order: tuple[int, ...] | None = None
    ensemble: str = "mean_logits"
    postprocessing: tuple[Mapping[str, Any], ...] = ()
    option: str | None = None
    manifest_sha256: str | None = None


@dataclass(frozen=True)
class Release:
    """One published version of a task's models: one stage, or several for a cascade.

    ``workflow`` is what is made of the results of all stages, ``rules`` what its version does
    differently, ``obstacle`` what keeps this version of the software from exporting and running it.
    """

    version: str
    changes: str
    sct: str | None
    outputs: tuple[Output, ...]
    options: tuple[str, ...]
    stages: tuple[Stage, ...]
    workflow: Mapping[str, Any] | None = None
    rules: Mapping[str, Any] | None = None
    obstacle: str | None = None

    @property
    def main(self) -> int:
        """Return which stage the task's bundle is made of: the last that always runs."""
        return max(index for index, stage in enumerate(self.stages) if stage.option is None)


@dataclass(frozen=True)
class Task:
    """Task: the facts that people know of it, from its ``task.toml``; releases newest first."""

    name: str
    aliases: tuple[str, ...]
    title: str
    description: str
    group: str
    status: str
    license: str | None
    citations: tuple[Publication, ...]
    unverified: tuple[str, ...]
    inputs: tuple[Input, ...]
    releases: tuple[Release, ...]
    directory: Path
    last_sct: str | None = None
    superseded_by: tuple[str, ...] = ()
    structures: Mapping[str, str] = field(default_factory=dict)
    review: Review = field(default_factory=Review)

    @property
    def bundle_path(self) -> Path:
        """Return where the task's bundle is when it ships with the package."""
        return self.directory / "bundle"

    @property
    def is_retired(self) -> bool:
        """Whether the task runs only when asked for explicitly."""
        return self.status == "retired"

    @property
    def citation(self) -> str | None:
        """Return all citations as one text."""
        return "; ".join(each.text for each in self.citations) or None

    @property
    def exportable(self) -> Release | None:
        """Return the newest release that can be exported and run, if there is any."""
        return next((release for release in self.releases if not release.obstacle), None)

    def bundle_name(self, version: str | None = None) -> str:
        """Return the name of the task's bundle, or of that of a certain release."""
        return self.name if version is None else f"{self.name}-{version}"

    def release(self, version: str | None = None) -> Release:
        """Return a release by its version; the newest for None."""
        if version is None:
            return self.releases[0]
        for release in self.releases:
            if release.version == version:
                return release
        known = ", ".join(release.version for release in self.releases)
        raise OptionError(f"{self.name} has no release {version}; it has {known}.")


def read_task(directory: Path) -> Task:
    """Read one task directory.

    Raises
    ------
    BundleError
        Listing everything that is wrong with its ``task.toml``.
    """
    document = _read_document(directory)
    problems = task_problems(document)
    if document.get("name") != directory.name:
        problems.append(f"name: must be {directory.name!r}, the name of its folder")
    if problems:
        raise BundleError(f"{directory / TASK_FILE}: {'; '.join(problems)}.")
    return _build(document, directory)


def read_names(directory: Path) -> tuple[str, ...]:
    """Return the name and the aliases of a task, whatever else its file says."""
    return (directory.name, *_read_document(directory).get("aliases", ()))


def _read_document(directory: Path) -> dict[str, Any]:
    file = directory / TASK_FILE
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BundleError(f"{file} cannot be read: {error}.") from error


def task_problems(document: Any) -> list[str]:
    """Return every reason why a document is not a valid task file; empty when it is one."""
    return schema_problems("task", document) or list(_cross_check(document))


def _releases(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [_complete(part, document) for part in document["releases"]]


def _complete(part: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """Return a release with all it shares, its models always in ``stages``."""
    merged = {"sct": None, "options": [], **document.get("shared", {}), **part}
    own = {field.name for field in fields(Release)}
    common = {key: value for key, value in merged.items() if key not in own}
    common.setdefault("channels", [item["name"] for item in document["inputs"]])
    release = {key: value for key, value in merged.items() if key in own}
    stages = release.get("stages", [{"name": "main"}])
    return {**release, "stages": [{**common, **stage} for stage in stages]}


def _cross_check(document: dict[str, Any]) -> Iterator[str]:
    """Check what a schema cannot say: what must be there in the end, and agree."""
    releases = _releases(document)
    inputs = [item["name"] for item in document["inputs"]]
    versions = [release["version"] for release in releases]
    for kind, names in (("inputs", inputs), ("releases", versions)):
        if len(set(names)) != len(names):
            yield f"{kind}: every one must be there once"
    yield from review_problems(document.get("qc", {}))
    for i, item in enumerate(document["inputs"]):
        if unknown := [name for name in item.get("invert", ()) if name not in item["contrasts"]]:
            yield f"inputs[{i}].invert: {', '.join(unknown)} is none of its contrasts"
    for i, release in enumerate(releases):
        if "outputs" not in release:
            yield f"releases[{i}].outputs: missing, here and in shared"
        if "workflow" in release and not release.keys() & {"rules", "obstacle"}:
            yield f"releases[{i}].rules: its workflow needs them"
        if all("option" in stage for stage in release["stages"]):
            yield f"releases[{i}]: one stage must run without an option"
        earlier: list[str] = []
        for stage in release["stages"]:
            where = f"releases[{i}], stage {stage['name']}"
            for key in ("model", "family", "labels"):
                if key not in stage:
                    yield f"{where}: {key} is missing, here and in shared"
            known = [*inputs, *earlier]
            if unknown := [name for name in stage["channels"] if name not in known]:
                yield f"{where}: channels has {', '.join(unknown)}; known are {', '.join(known)}"
            if "crop_to" in stage and stage["crop_to"]["stage"] not in earlier:
                yield f"{where}: crop_to must name an earlier stage"
            order = stage.get("regions_class_order")
            if order is not None and len(order) != len(stage.get("labels", order)):
                yield f"{where}: regions_class_order needs one value per label"
            if stage["name"] in known:
                yield f"{where}: its name is taken"
            earlier.append(stage["name"])
        labels = {label["name"] for label in release["stages"][-1].get("labels", ())}
        for output in release.get("outputs", ()):
            if unknown := [name for name in output.get("labels", ()) if name not in labels]:
                yield f"releases[{i}], output {output['suffix']}: no label {', '.join(unknown)}"


def _build(document: dict[str, Any], directory: Path) -> Task:
    plain = {field.name for field in fields(Task)} - {"inputs", "releases", "citations"}
    facts: dict[str, Any] = frozen({key: document[key] for key in plain & document.keys()})
    if facts["license"] == UNKNOWN:
        facts["license"] = None
    return Task(
        **facts,
        citations=tuple(Publication(**frozen(item)) for item in document["citations"]),
        inputs=tuple(Input(**frozen(item)) for item in document["inputs"]),
        releases=tuple(_build_release(release) for release in _releases(document)),
        directory=directory,
        review=read_review(document.get("qc", {})),
    )


def _build_release(release: dict[str, Any]) -> Release:
    built = {
        "stages": tuple(map(_build_stage, release["stages"])),
        "outputs": tuple(Output(**frozen(output)) for output in release["outputs"]),
    }
    return Release(**frozen({**release, "stages": [], "outputs": []}) | built)


def _build_stage(stage: dict[str, Any]) -> Stage:
    facts = frozen(stage)
    facts["labels"] = tuple(Label(**frozen(label)) for label in stage["labels"])
    for key, kind in (("layout", Layout), ("crop_to", CropTo)):
        if key in stage:
            facts[key] = kind(**frozen(stage[key]))
    return Stage(**facts)
