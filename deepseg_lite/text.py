"""Text for people: printable, in one line, and no longer than it can be read."""

from __future__ import annotations

MESSAGE_LENGTH = 300
NAME_LENGTH = 80


def printable(text: object) -> str:
    r"""Return a text with what no terminal shows escaped.

    That is control characters, line breaks, and the bytes of a file's name that are not text.

    >>> printable("a\nb\udcff.nii")
    'a\\nb\\xff.nii'
    """
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in str(text))


def _escaped(sign: str) -> str:
    if "\udc80" <= sign <= "\udcff":  # how Python keeps such bytes
        return f"\\x{ord(sign) - 0xDC00:02x}"
    return sign.encode("unicode_escape").decode("ascii")


def shortened(text: str, length: int) -> str:
    """Return a text of at most so many characters: its beginning and its end."""
    if len(text) <= length:
        return text
    end = (length - 3) // 2
    return f"{text[: length - 3 - end]}...{text[len(text) - end :]}"


def shown(path: object) -> str:
    """Return the name of a file as messages have it."""
    return shortened(printable(path), NAME_LENGTH)


def one_line(message: object) -> str:
    """Return a message that is printable and below `MESSAGE_LENGTH` characters.

    Of one that is too long the longest words, which are names of files, are cut first.
    """
    text = printable(message)
    for length in (NAME_LENGTH, NAME_LENGTH // 2):
        if len(text) >= MESSAGE_LENGTH:
            text = " ".join(shortened(word, length) for word in text.split(" "))
    return shortened(text, MESSAGE_LENGTH - 1)
