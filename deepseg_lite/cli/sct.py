"""The command line of ``sct_deepseg``, so that its scripts run here.

SCT's options have one dash and long names. What has a counterpart is put in its place; what does
not apply here is dropped, and said.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from deepseg_lite.cli.spelling import SpellingError, is_option, take_value

FLAGS = {
    "-test-time-aug": "--tta",
    "-soft-ms-lesion": "--soft",
    "-single-fold": "--single-fold",
}
SWITCHES = {  # 0 or 1
    "-largest": "--keep-largest",
    "-fill-holes": "--fill-holes",
    "-label-vert": "--label-vert",
}
VALUES = {
    "-thr": "--threshold",
    "-qc": "--qc",
    "-qc-dataset": "--qc-dataset",
    "-qc-subject": "--qc-subject",
    "-qc-seg": "--qc-seg",
}
LISTS = {"-i": "-i", "-c": "-c", "-remove-small": "--remove-small"}
BOX = tuple(f"-box-{axis}{end}" for axis in "xyz" for end in ("min", "max"))
PLANES = ("Axial", "Sagittal")  # -qc-plane
VERBOSITY = {"0": ["-q"], "1": [], "2": ["-v"]}  # -v
DROPPED = {
    "-r": "there are no temporary files",
    "-profile-time": "every record has the seconds of each stage, and -v shows them",
    "-trace-memory": "deepseg-lite plan says what a run takes, and deepseg-lite bench measures it",
    "-step1-only": "the first step alone is the default, and -label-vert 1 adds the second",
}
MAYBE_ALONE = ("-profile-time", "-trace-memory")  # what follows may be the task
REFUSED = {
    "-install": "a model is brought here by deepseg-lite fetch TASK",
    "-custom-url": "download the model and give it to deepseg-export nnunet, then run its bundle",
    "-install-task": "a model is brought here by deepseg-lite fetch TASK",
    "-list-tasks": "see deepseg-lite list",
    "-task-details": "see deepseg-lite info TASK",
    "-ofolder": "a folder for results is given as -o FOLDER",
    "-t": "its offsets are random, so that no two of its results are alike; leave it out",
    "-igt": "results are not compared with a ground truth here",
}
MODEL = "-m"  # one of a command's models, whose task has its name behind the command's
SPELLINGS = (
    *FLAGS,
    *SWITCHES,
    *VALUES,
    *BOX,
    *LISTS,
    *DROPPED,
    *REFUSED,
    "-task",
    MODEL,
    "-v",
    "-qc-plane",
)


def translate(
    arguments: Sequence[str], takes_value: Collection[str]
) -> tuple[list[str], list[str]]:
    """Return a command line in our own spelling, and remarks on what was dropped.

    Parameters
    ----------
    arguments : sequence of str
        What follows ``deepseg-lite run``, in SCT's spelling, our own, or a mixture.
    takes_value : collection of str
        Our own options that are followed by a value.

    Returns
    -------
    arguments : list of str
        For our own parser.
    remarks : list of str
        One line for each option that does not apply.

    Raises
    ------
    SpellingError
        For options that ask for something else than a run, and for wrong values.

    Notes
    -----
    ``-i``, ``-c`` and ``-remove-small`` take several values, as in SCT, but only once the task has
    been named: what follows one image before that is the task.
    """
    left = list(arguments)
    translated: list[str] = []
    remarks: list[str] = []
    named = False
    task, model = 0, None
    while left:
        word = left.pop(0)
        if word == "-task":
            task = len(translated)
            translated.append(take_value(word, left, "a task"))
            named = True
        elif word == MODEL:
            model = take_value(word, left, "the name of a model")
        elif word in FLAGS:
            translated.append(FLAGS[word])
        elif word in SWITCHES:
            is_on = _choice(word, left, ("0", "1")) == "1"
            translated.append(SWITCHES[word].replace("--", "--" if is_on else "--no-"))
        elif word == "-qc-plane":
            translated += ["--qc-plane", _choice(word, left, tuple(PLANES)).lower()]
        elif word in VALUES or word in BOX:
            translated += [VALUES.get(word, f"-{word}"), take_value(word, left)]
        elif word in LISTS:
            values = _values(left, None if named else 1)
            for value in values:
                translated += [LISTS[word], value]
            if not values:
                translated.append(LISTS[word])  # the parser says what is missing
        elif word == "-v" and left and left[0].isdecimal():
            translated += VERBOSITY[_choice(word, left, tuple(VERBOSITY))]
        elif word in DROPPED:
            _values(left, 0 if word in MAYBE_ALONE and not named else 1)
            remarks.append(f"{word} has no effect here: {DROPPED[word]}.")
        elif word in REFUSED:
            raise SpellingError(f"{word} is SCT's: {REFUSED[word]}.")
        else:
            if not named and not word.startswith("-"):
                task, named = len(translated), True
            translated.append(word)
            if word in takes_value and left and not is_option(left[0]):
                translated.append(left.pop(0))
    if model is not None:
        if not named:
            raise SpellingError(
                f"{MODEL} {model} needs the command that it is a model of before it."
            )
        translated[task] = f"{translated[task]}-{model}"
    return translated, remarks


def _choice(word: str, left: list[str], choices: Sequence[str]) -> str:
    """Take the value of an option that has a few off a command line."""
    needed = f"{', '.join(choices[:-1])} or {choices[-1]}"
    value = take_value(word, left, needed)
    if value not in choices:
        raise SpellingError(f"{word} is {value}; it must be {needed}.")
    return value


def _values(left: list[str], most: int | None) -> list[str]:
    """Take the words up to the next option off a command line."""
    count = next((i for i, word in enumerate(left) if is_option(word)), len(left))
    count = count if most is None else min(count, most)
    values = left[:count]
    del left[:count]
    return values
