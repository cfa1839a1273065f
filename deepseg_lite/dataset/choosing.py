"""Choosing: which images of a data set become cases, and which of them are one case."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from deepseg_lite.dataset.filters import Filter, Listing
from deepseg_lite.dataset.names import CONTRASTS, DATATYPES, Image, parse, read_image
from deepseg_lite.dataset.walking import File
from deepseg_lite.notice import Notice, Warn, log
from deepseg_lite.text import shown

NO_MAGNITUDE = ("phase", "real", "imag")
"""Values of ``part`` of images that are taken only when asked for."""
NO_SCANS = ("defacemask",)
"""Suffixes of images in ``anat`` that are no scans."""


@dataclass(frozen=True)
class Channel:
    """Channel of a model: its name, and the contrasts that its images may have."""

    name: str
    contrasts: tuple[str, ...] = ()

    @property
    def filters(self) -> list[Filter]:
        """Return what the names of its images have: one of these. Of any contrast are ``anat``."""
        known = [CONTRASTS[name] for name in self.contrasts or (self.name,) if name in CONTRASTS]
        if not known or "any" in self.contrasts:
            return [Filter({"datatype": ("anat",)})]
        return [Filter({name: (value,) for name, value in each.items()}) for each in known]


@dataclass(frozen=True)
class Wanted:
    """Images that are wanted.

    Attributes
    ----------
    filter : Filter
        What the names of all must have.
    channels : mapping of str to Filter
        What those of a channel must have, in place of its contrasts.
    only, never : Listing or None
        Lists of those that are taken alone, and of those that are not.
    """

    filter: Filter = field(default_factory=Filter)
    channels: Mapping[str, Filter] = field(default_factory=dict)
    only: Listing | None = None
    never: Listing | None = None

    def takes(self, image: Image) -> bool:
        """Return whether an image may be taken, for whatever channel."""
        return (
            self.filter.takes(image)
            and (self.only is None or self.only.names(image))
            and not (self.never is not None and self.never.names(image))
        )


def images_of(files: Iterable[File], warn: Warn = log) -> list[Image]:
    """Return the images among files, one for each result there would be.

    An image that is there as ``.nii`` and ``.nii.gz`` is taken once, as the latter. Of names that
    differ in upper and lower case alone the first is taken: not every disk tells them apart. Links
    to images that are not here are taken; their cases fail and say what to do.
    """
    images: dict[str, Image] = {}
    twins: list[str] = []
    alike: list[str] = []
    for file in files:
        image = read_image(file.path, is_here=file.is_here)
        if image is None:
            continue
        other = images.setdefault(image.id.lower(), image)
        if other.id != image.id:
            alike.append(image.path)
        elif other is not image:
            twins.append(image.path)
            if image.path.lower().endswith(".nii.gz"):
                images[image.id.lower()] = image
    missing = [image.path for image in images.values() if not image.is_here]
    notice("twins", twins, "there as .nii and as .nii.gz; the latter is taken", warn)
    text = "called as another but for upper and lower case, which not every disk tells apart"
    notice("names-alike", alike, f"{text}; left out", warn)
    notice("not-here", missing, "a link to a file that is not here; its case will fail", warn)
    return list(images.values())


def tell_lone_sidecars(files: Iterable[File], images: Iterable[Image], warn: Warn = log) -> None:
    """Tell of JSON files with an image's name where there is no image that they are about."""
    folders: dict[str, list[Image]] = defaultdict(list)
    for image in images:
        folders[image.folder].append(image)
    lone = []
    for file in files:
        if not file.path.endswith(".json"):
            continue
        folder, _, name = file.path.rpartition("/")
        entities, suffix = parse(name.removesuffix(".json"))
        is_about = any(
            image.suffix == suffix and entities.items() <= image.entities.items()
            for image in folders[folder]
        )
        if folder.rpartition("/")[2] in DATATYPES and suffix and not is_about:
            lone.append(file.path)
    notice("no-image", lone, "a JSON file without the image that it is about", warn)


def cases_of(
    images: Sequence[Image],
    channels: Sequence[Channel],
    wanted: Wanted,
    *,
    bids: bool,
    warn: Warn = log,
) -> list[tuple[Image, ...]]:
    """Return the images of each case, one per channel.

    Parameters
    ----------
    images : sequence of Image
        From `images_of`.
    channels : sequence of Channel
        Of the model.
    wanted : Wanted
        The user's choice.
    bids : bool
        Whether images are of a BIDS data set, and contrasts therefore known by their names.
    warn : callable
        Told of what was left out, and why.
    """
    usable = [image for image in images if wanted.takes(image) and image.suffix not in NO_SCANS]
    if "part" not in wanted.filter.wanted:
        parts = {image.path for image in usable if image.entities.get("part") in NO_MAGNITUDE}
        usable = [image for image in usable if image.path not in parts]
        text = "no magnitude, by part- in its name; left out unless the filter has a part"
        notice("part", sorted(parts), text, warn)
    is_named = bool(wanted.filter.wanted.keys() & {"suffix", "datatype"})
    by_channel = []
    for channel in channels:
        filters = channel.filters if bids or len(channels) > 1 else [Filter()]
        if channel.name in wanted.channels:
            filters = [wanted.channels[channel.name]]
        elif len(channels) == 1 and is_named:
            filters = [Filter()]
        by_channel.append([i for i in usable if any(each.takes(i) for each in filters)])
    if len(channels) == 1:
        return [(image,) for image in by_channel[0]]
    return _paired(by_channel, warn)


def _paired(by_channel: Sequence[Sequence[Image]], warn: Warn) -> list[tuple[Image, ...]]:
    """Return an image of each channel for every one of the first, of one subject and session."""
    groups: list[dict[tuple[str, str], list[Image]]] = []
    for images in by_channel[1:]:
        group = defaultdict(list)
        for image in images:
            group[_visit(image)].append(image)
        groups.append(group)
    pairs: list[tuple[Image, ...]] = []
    alone: list[str] = []
    unclear: list[str] = []
    for first in by_channel[0]:
        partners = [_partners(first, group.get(_visit(first), [])) for group in groups]
        if all(len(found) == 1 for found in partners):
            pairs.append((first, *(found[0] for found in partners)))
        else:
            (unclear if all(partners) else alone).append(first.path)
    notice("unpaired", alone, "without an image for each other channel; left out", warn)
    text = "with several images for another channel; left out unless a filter tells them apart"
    notice("pairs-unclear", unclear, text, warn)
    return pairs


def _visit(image: Image) -> tuple[str, str]:
    """Return the subject and the session of an image; without entities, its folder."""
    entities = image.entities
    return entities.get("sub", image.folder), entities.get("ses", "")


def _partners(first: Image, others: Sequence[Image]) -> list[Image]:
    """Return the images whose entities agree with those of another where both have them.

    Of several, those that share the most.
    """
    own = first.entities
    agreeing = [o for o in others if all(own.get(n, v) == v for n, v in o.entities.items())]
    shared = Counter({o.path: len(own.items() & o.entities.items()) for o in agreeing})
    most = max(shared.values(), default=0)
    return [o for o in agreeing if shared[o.path] == most]


def notice(code: str, paths: Sequence[str], what: str, warn: Warn = log) -> None:
    """Tell how many files there are of a doubtful kind, if any, and name the first."""
    if paths:
        more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
        text = f"{shown(paths[0])}{more}: {what}."
        warn(Notice(code, text, figures={"files": len(paths)}))
