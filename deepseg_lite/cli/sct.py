"""The command line of ``sct_deepseg``, so that its scripts run here.

SCT's options have one dash and long names. What has a counterpart is put in its place; what does
not apply here is dropped, and said.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

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
VALUES = {"-thr": "--threshold"}
LISTS = {"-i": "-i", "-c": "-c", "-remove-small": "--remove-small"}
BOX = tuple(f"-box-{axis}{end}" for axis in "xyz" for end in ("min", "max"))
VERBOSITY = {"0": ["-q"], "1": [], "2": ["-vv"]}  # -v
DROPPED = {
    "-qc": "there is no quality-control report",
    "-qc-dataset": "there is no quality-control report",
    "-qc-subject": "there is no quality-control report",
    "-qc-plane": "there is no quality-control report",
    "-qc-seg": "there is no quality-control report",
    "-r": "there are no temporary files",
    "-step1-only": "the first step alone is the default, and -label-vert 1 adds the second",
}
REFUSED = {
    "-install": "a model is brought here by deepseg-lite fetch TASK or deepseg-export task TASK",
    "-custom-url": "download the model and give it to deepseg-export nnunet, then run its bundle",
    "-install-task": "a model is brought here by deepseg-lite fetch or deepseg-export task",
    "-list-tasks": "see deepseg-lite list",
    "-task-details": "see deepseg-lite info TASK",
}


class NoCounterpart(Exception):  # noqa: N818 - the caller makes a usage error of it
    """An option of SCT that asks for something else than a run; the message says what does it."""


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
    NoCounterpart
        For options that ask for something else than a run.

    Notes
    -----
    ``-i``, ``-c`` and ``-remove-small`` take several values, as in SCT, but only once the task has
    been named: what follows one image before that is the task.
    """
    left = list(arguments)
    translated: list[str] = []
    remarks: list[str] = []
    named = False
    while left:
        word = left.pop(0)
        if word == "-task" and left:
            translated.append(left.pop(0))
            named = True
        elif word in FLAGS:
            translated.append(FLAGS[word])
        elif word in SWITCHES and left:
            translated.append(SWITCHES[word].replace("--", "--no-" if left.pop(0) == "0" else "--"))
        elif word in VALUES or word in BOX:
            translated += [VALUES.get(word, f"-{word}"), *left[:1]]
            del left[:1]
        elif word in LISTS:
            values = _values(left, None if named else 1)
            for value in values:
                translated += [LISTS[word], value]
            if not values:
                translated.append(LISTS[word])  # the parser says what is missing
        elif word == "-v" and left and left[0] in VERBOSITY:
            translated += VERBOSITY[left.pop(0)]
        elif word in DROPPED:
            _values(left, 1)
            remarks.append(f"{word} has no effect here: {DROPPED[word]}.")
        elif word in REFUSED:
            raise NoCounterpart(f"{word} is sct_deepseg's: {REFUSED[word]}.")
        else:
            named = named or not word.startswith("-")
            translated.append(word)
            if word in takes_value and left:
                translated.append(left.pop(0))
    return translated, remarks


def _values(left: list[str], most: int | None) -> list[str]:
    """Take the words up to the next option off a command line."""
    count = next((i for i, word in enumerate(left) if word.startswith("-")), len(left))
    count = count if most is None else min(count, most)
    values = left[:count]
    del left[:count]
    return values
