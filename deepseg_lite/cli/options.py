"""What the options of ``run`` mean, for every command that takes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepseg_lite.cli.sct import NoCounterpart, translate

if TYPE_CHECKING:
    from deepseg_lite.api.segmenter import Segmenter
    from deepseg_lite.api.spine_segmenter import SpineSegmenter
    from deepseg_lite.bundles.bundle import Bundle
    from deepseg_lite.inference.settings import Settings


FACES = tuple(f"{axis}{end}" for axis in "xyz" for end in ("min", "max"))
Given = Mapping[str, Any]
"""Values of the options by their names, as click gives them to a command."""


class RunCommand(click.Command):
    """A command that reads SCT's spelling too, and divides its ``-i`` into cases at ``--case``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Translate, and note how many images precede each ``--case``."""
        takes_value = {
            name
            for option in self.params
            if isinstance(option, click.Option) and not option.is_flag and not option.count
            for name in option.opts
        }
        try:
            args, ctx.meta["remarks"] = translate(args, takes_value)
        except NoCounterpart as error:
            raise click.UsageError(str(error), ctx) from None
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        sizes = [0]
        for parameter in order:
            if parameter.name == "cases":
                sizes.append(0)
            elif parameter.name == "images":
                sizes[-1] += 1
        ctx.meta["case_sizes"] = sizes
        return super().parse_args(ctx, args)


def load_model(given: Given) -> Segmenter | SpineSegmenter:
    """Return the model that the options name; its networks are not open yet."""
    from deepseg_lite.api import loader

    folds = given["folds"]
    return loader.load(
        given["task_or_bundle"],
        device=given["device"],
        precision=given["precision"],
        threads=given["threads"],
        folds=None if folds is None else _words(folds),
        single_fold=given["single_fold"] or (given["fast"] and folds is None),
        open_networks=False,
        release=given["release"],
        retired=given["retired"],
    )


def settings_of(given: Given, bundle: Bundle) -> Settings:
    """Return what the options change about a run of a model."""
    from deepseg_lite.inference.cleaning import Cleaning, parse_sizes
    from deepseg_lite.inference.settings import Settings, fast_settings

    sizes, unit = parse_sizes(given["remove_small"])
    cleaning = Cleaning(
        threshold=given["threshold"],
        keep_largest=given["keep_largest"],
        fill_holes=given["fill_holes"],
        remove_small=sizes,
        unit=unit,
    )
    settings = Settings(
        step=given["step"],
        mirror=given["tta"],
        soft=given["soft"],
        ensemble=given["ensemble"] and given["ensemble"].replace("-", "_"),
        contrasts=given["contrasts"],
        outputs=tuple(_words(given["outputs"] or "")),
        label_vert=given["label_vert"],
        iso=given["iso"],
        box={face: given[f"box_{face}"] for face in FACES if given[f"box_{face}"] is not None},
        strict_crop=given["strict_crop"],
        cleaning=cleaning,
        half_precision_sums=given["accumulator"] == "float16",
        skip_empty=given["skip_empty"],
    )
    return fast_settings(settings, bundle) if given["fast"] else settings


def cases_of(given: Given, sizes: list[int], bundle: Bundle) -> list[list[Path]]:
    """Divide images into cases: at each ``--case``, else as many as the model has channels."""
    images = [Path(image) for image in given["images"]]
    channels = len(bundle.inputs.channel_names)
    if not given["cases"]:
        sizes = [channels] * (len(images) // channels)
        if rest := len(images) % channels:
            sizes.append(rest)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [images[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")] if text else []
