"""Options: one declaration makes the flag, the keyword, the default, the checks and the help."""

from __future__ import annotations

import inspect
from typing import Annotated, Literal, TypedDict

import click
import pytest
from click.testing import CliRunner

import deepseg_lite
from deepseg_lite.api.load_options import LoadOptions
from deepseg_lite.api.segmenter import Segmenter
from deepseg_lite.api.spine_segmenter import SpineSegmenter
from deepseg_lite.cli.options import given_of, options_of
from deepseg_lite.cli.run import run
from deepseg_lite.errors import OptionError
from deepseg_lite.inference.settings import Settings, make_settings
from deepseg_lite.option import Option, complete, declared, takes, words


class Added(TypedDict, total=False):
    """Options of a test, one of each kind."""

    loud: Annotated[bool, Option("Be loud.", default=False)]
    maybe: Annotated[bool | None, Option("Do it, do not, or leave it to the model.")]
    share: Annotated[float | None, Option("A share.", above=0, maximum=1)]
    count: Annotated[int | None, Option("A number.", minimum=1)]
    way: Annotated[Literal["this-way", "that-way"] | None, Option("A way.")]
    names: Annotated[tuple[str, ...], Option("Names.", default=(), is_list=True, read=words)]


def _command():
    """Return a command with the options of `Added`, and the list of what it was given."""
    seen = []
    command = click.Command(
        "added", callback=lambda **given: seen.append(given), params=[*options_of(Added)]
    )
    return command, seen


def test_an_option_that_is_declared_is_a_flag_and_a_keyword_with_one_default():
    command, seen = _command()
    assert CliRunner().invoke(command, []).exit_code == 0
    assert complete(Added, given_of(Added, seen[0])) == complete(Added, {})
    line = "--loud --no-maybe --share 0.5 --count 2 --way that-way --names a,b"
    assert CliRunner().invoke(command, line.split()).exit_code == 0
    assert complete(Added, given_of(Added, seen[1])) == {
        "loud": True,
        "maybe": False,
        "share": 0.5,
        "count": 2,
        "way": "that-way",
        "names": ("a", "b"),
    }


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"share": 0}, "share is 0; a number above 0 and up to 1 is needed."),
        ({"share": "half"}, "share is 'half'; a number above 0"),
        ({"count": 0}, "count is 0; at least 1 is needed."),
        ({"way": "no-way"}, "way is 'no-way'; it must be one of this-way, that-way."),
    ],
)
def test_python_is_told_what_the_command_line_refuses(given, problem):
    with pytest.raises(OptionError) as refused:
        complete(Added, given)
    assert str(refused.value).startswith(problem)
    ((name, value),) = given.items()
    command, seen = _command()
    assert CliRunner().invoke(command, [f"--{name}", str(value)]).exit_code == 2
    assert not seen


def test_no_number_is_refused():
    with pytest.raises(OptionError, match="share is nan; a number above 0"):
        complete(Added, {"share": float("nan")})


def test_a_keyword_that_does_not_exist_is_a_type_error_as_in_python():
    with pytest.raises(TypeError, match="'quiet'"):
        complete(Added, {"quiet": True})


def test_help_and_signature_list_every_option_once():
    @takes(Added)
    def function(image: str, **options: object) -> None:
        """Do something.

        Parameters
        ----------
        image : str
            Its name.
        """

    assert list(inspect.signature(function).parameters) == ["image", *Added.__annotations__]
    assert function.__doc__ is not None
    for each in declared(Added).values():
        assert function.__doc__.count(each.option.help) == 1


@pytest.mark.parametrize("call", [Segmenter.__call__, SpineSegmenter.__call__])
def test_python_has_every_setting_of_the_command_line(call):
    keywords = set(inspect.signature(call).parameters)
    flags = {option.name for option in run.params}
    for name, each in declared(Settings).items():
        assert name in keywords
        if not each.option.for_python:
            assert {name} <= flags or {f"{name}_{key}" for key in each.option.keys} <= flags


def test_python_loads_with_every_option_of_the_command_line():
    keywords = set(inspect.signature(deepseg_lite.load).parameters)
    assert set(declared(LoadOptions)) <= keywords


def test_settings_that_are_complete_can_be_given_again():
    settings = make_settings(outputs=["a", "b"], box={"xmin": 3}, remove_small=["5mm3"], tta=True)
    assert make_settings(**settings) == settings


def test_one_text_stands_for_a_list_of_one_and_no_box_for_an_empty_one():
    settings = make_settings(remove_small="5mm3", contrasts="t2", box=None)
    assert settings["remove_small"] == ("5mm3",)
    assert settings["contrasts"] == ("t2",)
    assert settings["box"] == {}


def test_help_says_something_of_every_option():
    for options in (Settings, LoadOptions):
        for name, each in declared(options).items():
            assert each.option.help, name
