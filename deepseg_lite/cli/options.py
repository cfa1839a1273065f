"""Options of the command line, made from their declarations, for every command that takes them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args, get_origin

import click

from deepseg_lite.api.load_options import LoadOptions
from deepseg_lite.cli import suggestions
from deepseg_lite.cli.console import report_error, say
from deepseg_lite.cli.files import find_images
from deepseg_lite.cli.sct import SPELLINGS, translate
from deepseg_lite.cli.spelling import SpellingError, check_words, with_value
from deepseg_lite.errors import ImageError
from deepseg_lite.inference.settings import Settings, make_settings
from deepseg_lite.option import Declared, declared, in_flags
from deepseg_lite.text import one_line

if TYPE_CHECKING:
    from deepseg_lite.api.segmenter import Segmenter
    from deepseg_lite.api.spine_segmenter import SpineSegmenter
    from deepseg_lite.bundles.bundle import Bundle

_logger = logging.getLogger("deepseg_lite")
_FILES = ("FILE", "FOLDER", "MASK")
"""Names of values that are files."""
Given = Mapping[str, Any]
"""Values of the options by their names, as click gives them to a command."""


class RunCommand(click.Command):
    """Command that reads SCT's spelling too, and divides its ``-i`` into cases at ``--case``.

    Parameters
    ----------
    report : dict
        The JSON document of no results, for a run that is refused before it starts.
    """

    def __init__(self, name: str, *, report: Mapping[str, Any], **attributes: Any) -> None:
        super().__init__(name, **attributes)
        self._report = report

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Translate, and note how many words with images precede each ``--case``."""
        if ctx.resilient_parsing:  # a shell asks how a word may go on
            return super().parse_args(ctx, args)
        given = list(args)
        try:
            return self._parse(ctx, given)
        except click.UsageError as error:
            if "--json" in given:
                self._say_refused([], one_line(error.format_message()))
            raise

    def _parse(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            args, ctx.meta["remarks"] = translate(args, with_value(self.params))
            check_words(args, self.get_params(ctx), SPELLINGS)
        except SpellingError as error:
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

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; with ``--json`` its errors are in the report, too."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if not ctx.params["as_json"]:
                raise
            self._say_refused(ctx.params["images"], report_error(error))
            ctx.exit(1)

    def _say_refused(self, images: Sequence[str], error: str) -> None:
        errors = [{"images": list(images), "error": error}]
        say(json.dumps({**self._report, "errors": errors}, indent=2))


def options_of(options: type) -> Iterator[click.Option]:
    """Yield the click options of those that a `TypedDict` declares."""
    for name, each in declared(options).items():
        if each.option.keys:
            yield from _face_options(each)
        elif not each.option.for_python:
            yield click.Option([name, *_flags(each)], **_keywords(each))


def given_of(options: type, given: Given) -> dict[str, Any]:
    """Return what was given of the options that a `TypedDict` declares."""
    found = {}
    for name, each in declared(options).items():
        if each.option.keys:
            values = {key: given[f"{name}_{key}"] for key in each.option.keys}
            found[name] = {key: value for key, value in values.items() if value is not None}
        elif not each.option.for_python:
            found[name] = given[name]
    return found


def load_model(given: Given) -> Segmenter | SpineSegmenter:
    """Return the model that the options name; its networks are not open yet."""
    from deepseg_lite.api import loader

    options = given_of(LoadOptions, given)
    if given["fast"] and options["folds"] is None:
        options["single_fold"] = True
    return loader.load(
        given["task_or_bundle"], **cast("LoadOptions", {**options, "open_networks": False})
    )


def settings_of(given: Given, bundle: Bundle) -> Settings:
    """Return the settings of a run of a model."""
    from deepseg_lite.inference.fitting import fit_settings

    return fit_settings(make_settings(**cast("Settings", given_of(Settings, given))), bundle)


def cases_of(given: Given, sizes: list[int], bundle: Bundle) -> list[list[Path]]:
    """Divide images into cases: at each ``--case``, else as many as the model has channels.

    Raises
    ------
    ImageError
        If a folder or a pattern has no images, or they do not make whole cases.
    """
    found = [find_images(word) for word in given["images"]]
    for each in found:
        if each.remark:
            _logger.warning("%s.", each.remark)
    names = bundle.inputs.channel_names
    if given["cases"]:
        left = iter(found)
        cases = [[p for each in islice(left, size) for p in each.images] for size in sizes]
    else:
        images = [path for each in found for path in each.images]
        step = len(names)
        cases = [images[start : start + step] for start in range(0, len(images), step)]
    for number, case in enumerate(cases, 1):
        if len(case) != len(names):
            which = f" for case {number}" if given["cases"] else ""
            count = len(case) if given["cases"] else sum(map(len, cases))
            raise ImageError(
                f"{count} images were given{which}; {bundle.name} needs {len(names)} per case, in "
                f"this order: {', '.join(names)}."
            )
    return cases


def flag_of(name: str) -> str:
    """Return the flag of an option or an argument."""
    return f"--{name.replace('_', '-')}"


def _flags(each: Declared) -> tuple[str, ...]:
    """Return the flags of an option; one that is on, off or not said has both."""
    if each.option.flags:
        return each.option.flags
    flag = flag_of(each.name)
    both = each.kind is not bool and bool in get_args(each.kind)
    return (f"{flag}/--no-{flag[2:]}" if both or each.option.has_opposite else flag,)


def _keywords(each: Declared) -> dict[str, Any]:
    option = each.option
    keywords: dict[str, Any] = {"help": in_flags(option.help), "metavar": option.metavar}
    if option.metavar in _FILES:
        keywords["shell_complete"] = suggestions.files
    kinds = (each.kind, *get_args(each.kind))
    if bool in kinds:
        keywords |= {"is_flag": True, "default": option.default}
    elif each.choices:
        keywords["type"] = click.Choice(each.choices)
    elif int in kinds and str not in kinds:
        keywords["type"] = click.IntRange(_whole(option.minimum), _whole(option.maximum))
    elif float in kinds:
        low = option.minimum if option.above is None else option.above
        keywords["type"] = click.FloatRange(low, option.maximum, min_open=option.above is not None)
    elif get_origin(each.kind) is Sequence and not option.is_list:
        keywords["multiple"] = True
    if option.default is not None and "multiple" not in keywords:
        keywords["default"] = ",".join(option.default) if option.is_list else option.default
    return {**keywords, "show_default": option.show_default}


def _whole(limit: float | None) -> int | None:
    return None if limit is None else int(limit)


def _face_options(each: Declared) -> Iterator[click.Option]:
    """Yield an option for each face of the box; the first one's help names the others."""
    first, *others = (f"{flag_of(each.name)}-{key}" for key in each.option.keys)
    for flag in (first, *others):
        yield click.Option(
            [flag],
            type=click.IntRange(_whole(each.option.minimum)),
            metavar=each.option.metavar,
            hidden=flag != first,
            help=f"{each.option.help}; so also {', '.join(others)}.",
        )
