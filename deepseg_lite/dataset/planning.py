"""Planning: the jobs of a batch, all checked before any of them is begun."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from deepseg_lite.api import loader
from deepseg_lite.api.cases import CROPBOX
from deepseg_lite.api.file_options import check_cropbox
from deepseg_lite.api.load_options import LoadOptions
from deepseg_lite.api.model import Model, ResultFile
from deepseg_lite.dataset.choosing import Channel, Wanted
from deepseg_lite.dataset.description import RAW
from deepseg_lite.dataset.filters import Filter, read_filter_file, read_labels, read_words, read_yml
from deepseg_lite.dataset.inputs import Found, Source
from deepseg_lite.dataset.job import Job, in_order
from deepseg_lite.dataset.keys import model_key
from deepseg_lite.dataset.layouts import Layout, place
from deepseg_lite.dataset.manual import LABELS, list_manual, manual_of
from deepseg_lite.dataset.names import parse
from deepseg_lite.dataset.options import BatchOptions
from deepseg_lite.errors import OptionError
from deepseg_lite.inference.fitting import fit_settings
from deepseg_lite.inference.settings import Settings, make_settings
from deepseg_lite.notice import Warn, log
from deepseg_lite.option import declared
from deepseg_lite.qc.options import QualityOptions
from deepseg_lite.text import shown

LOGS = "logs"
"""Folder, in that of the results, of the logs of cases and the records of those that failed."""
BOX = ResultFile(CROPBOX)
"""The box around the cord, which has no structure of its own."""


@dataclass(frozen=True)
class PlannedTask:
    """Task of a batch.

    Attributes
    ----------
    name : str
        What it is called in records and logs: the task's name, or the bundle's.
    word : str
        What `loader.load` is given.
    model : Model
        Its networks are not open.
    load, settings : mapping
        Options that jobs have.
    """

    name: str
    word: str
    model: Model
    load: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Return in words what it segments."""
        task = self.model.task
        return f"{task.title}; by deepseg-lite" if task else f"{self.name}; by deepseg-lite"

    @cached_property
    def fitted(self) -> Settings:
        """Return the settings as the model takes them."""
        given = make_settings(**cast("Settings", dict(self.settings)))
        return fit_settings(given, self.model.bundle)

    @cached_property
    def key(self) -> dict[str, Any]:
        """Return what voxels depend on beside the images."""
        return model_key(self.model, self.fitted)

    @cached_property
    def files(self) -> tuple[ResultFile, ...]:
        """Return what is written of each case."""
        return self.model.files(self.fitted)

    @property
    def structures(self) -> Mapping[str, str]:
        """Return what structures are called in names of files."""
        return self.model.task.structures if self.model.task else {}

    @property
    def channels(self) -> list[Channel]:
        """Return the channels of the model, with what is known of their contrasts."""
        inputs, task = self.model.bundle.inputs, self.model.task
        names = inputs.channel_names
        # A task may call its inputs otherwise than the network that was trained, in the same order.
        told = task.inputs if task and len(task.inputs) == len(names) else ()
        known = dict(zip(names, told, strict=False)) | {each.name: each for each in told}
        contrasts = inputs.contrasts or [known[n].contrasts if n in known else () for n in names]
        return [Channel(name, tuple(each)) for name, each in zip(names, contrasts, strict=True)]


def plan_tasks(words: Sequence[str], options: BatchOptions) -> list[PlannedTask]:
    """Return the tasks of a batch, their models found and their options checked.

    Raises
    ------
    DeepsegError
        As `loader.load` does, or if an option does not fit, or tasks have one name.
    """
    if not words:
        raise OptionError("no task was given; give `task`, a name from deepseg-lite list.")
    load, settings = _of(LoadOptions, options), _of(Settings, options)
    if settings.get("fast") and load.get("folds") is None:
        load["single_fold"] = True
    tasks = []
    for word in words:
        word = os.path.abspath(word) if os.path.exists(word) else word
        model = loader.load(word, **cast("LoadOptions", {**load, "open_networks": False}))
        name = model.task.name if model.task else model.bundle.name
        task = PlannedTask(name, word, model, load, settings)
        model.check_settings(task.fitted)
        check_cropbox(model, wanted=options["cropbox"])
        tasks.append(task)
    names = [task.name for task in tasks]
    if twice := {name for name in names if names.count(name) > 1}:
        raise OptionError(f"{min(twice)} was given twice; give each task once.")
    return tasks


def _of(kind: type, options: BatchOptions) -> dict[str, Any]:
    """Return the options that a `TypedDict` declares and somebody gave."""
    known = declared(kind)
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in options.items()
        if name in known and value != known[name].check(known[name].option.default)
    }


def wanted_of(options: BatchOptions, channels: Sequence[Channel]) -> Wanted:
    """Return which images are wanted for a model of such channels.

    Raises
    ------
    OptionError
        If a filter or a list cannot be read, or a filter file has none for these channels.
    """
    chosen = read_words(options["filter"])
    chosen &= read_labels("sub", options["participant_label"])
    chosen &= read_labels("ses", options["session_label"])
    by_channel: Mapping[str, Filter] = {}
    if (file := options["bids_filter_file"]) is not None:
        by_channel = _by_channel(Path(file), channels)
    only, never = options["include_yml"], options["exclude_yml"]
    return Wanted(
        chosen,
        by_channel,
        None if only is None else read_yml(Path(only)),
        None if never is None else read_yml(Path(never)),
    )


def _by_channel(file: Path, channels: Sequence[Channel]) -> dict[str, Filter]:
    """Return the filters of a file by channels: of their names, or else the only one there is."""
    filters = read_filter_file(file)
    found = {channel.name: filters[channel.name] for channel in channels if channel.name in filters}
    if not found and len(channels) == 1 and len(filters) == 1:
        return {channels[0].name: next(iter(filters.values()))}
    if not found:
        names = ", ".join(channel.name for channel in channels)
        raise OptionError(
            f"{shown(file)} has filters for {', '.join(filters) or 'nothing'}; one for {names} is "
            "needed."
        )
    return found


def plan_jobs(
    source: Source,
    tasks: Sequence[PlannedTask],
    out: Path,
    options: BatchOptions,
    command: Sequence[str] = (),
    warn: Warn = log,
) -> list[Job]:
    """Return the jobs of a batch; those of the same images stand together.

    Raises
    ------
    OptionError
        If a filter is wrong, there are no images, or results of two jobs would have one name.
    """
    layout: Layout = options["layout"] or ("bids" if source.bids else "sct")
    jobs = []
    for task in tasks:
        cases = source.find(task.channels, wanted_of(options, task.channels), warn)
        if not cases:
            raise OptionError(_nothing_for(task, source))
        jobs += list(_jobs_of(cases, task, source, layout, out, options, command))
    _check_names(jobs)
    return in_order(jobs)


def _nothing_for(task: PlannedTask, source: Source) -> str:
    """Return in words which images a task looks for, and which are there."""
    channels = task.channels
    filters = [each.wanted for channel in channels for each in channel.filters]
    looked_for = sorted({suffix for each in filters for suffix in each.get("suffix", ()) if suffix})
    first = channels[0]
    anything = Wanted(channels={first.name: Filter()})
    found = source.find([first], anything, lambda notice: None)
    there = Counter(parse(case.id.rpartition("/")[2])[1] or "no suffix" for case in found)
    known = f" ({', '.join(looked_for)})" if source.bids and looked_for else ""
    kinds = ", ".join(f"{count} of {shown(suffix)}" for suffix, count in there.most_common(5))
    return (
        f"no images for {task.name}{known} were found in {shown(source.root)}, which has "
        f"{kinds or 'none'}; look at the names of the images and at what was asked for, or name "
        "their suffix, as in `filter=suffix=T2w`."
    )


def _jobs_of(
    cases: Sequence[Found],
    task: PlannedTask,
    source: Source,
    layout: Layout,
    out: Path,
    options: BatchOptions,
    command: Sequence[str],
) -> Iterator[Job]:
    root, above = os.path.abspath(out), os.path.abspath(source.root)
    common = Job(
        "", task.word, (), (), task.load, task.settings, _quality(options),
        for_bids=layout != "sct", overwrite=options["overwrite"], command=tuple(command),
    )  # fmt: skip
    masks = list_manual([source.root / LABELS, out]) if common.quality else {}
    for case in cases:
        images = tuple(map(os.path.abspath, case.paths))
        names = [place(layout, case.id, file, task.structures) for file in task.files]
        outputs = tuple(f"{root}/{name}" for name in names)
        by_hand = [manual_of(case.id, file, task.structures, masks) for file in task.files]
        fields: dict[str, Any] = {"Case": case.id, "Task": task.name, "Description": task.title}
        if source.bids:
            relative = [Path(os.path.relpath(image, above)).as_posix() for image in images]
            fields["Sources"] = [f"bids:{RAW}:{name}" for name in relative]
        yield replace(
            common,
            id=f"{task.name}/{case.id}",
            images=images,
            outputs=outputs,
            cropbox=f"{root}/{place(layout, case.id, BOX, {})}" if options["cropbox"] else None,
            manual={name: mask for name, mask in zip(outputs, by_hand, strict=True) if mask},
            fields=fields,
            log=f"{root}/{LOGS}/{task.name}/{case.id}.log",
        )


def _quality(options: BatchOptions) -> dict[str, Any]:
    """Return the options of quality control, with paths that every process understands."""
    quality = _of(QualityOptions, options)
    return {
        name: os.path.abspath(value) if name in ("qc", "qc_seg") and value else value
        for name, value in quality.items()
    }


def _check_names(jobs: Sequence[Job]) -> None:
    """Refuse results of one name, also where upper and lower case are not told apart."""
    owners: dict[str, Job] = {}
    for job in jobs:
        for output in job.images_written:
            owner = owners.setdefault(output.lower(), job)
            if owner is not job:
                raise OptionError(
                    f"{shown(owner.id)} and {shown(job.id)} would both write {shown(output)}; run "
                    "them with different folders of results, or leave one out."
                )
