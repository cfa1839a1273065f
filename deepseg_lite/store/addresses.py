"""Addresses of mirrors, and what may be masked of them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from deepseg_lite.errors import OptionError

MAX_LOOKED_AT = 4000
_SECRETS = (
    (re.compile(r"(?<=://)[^\s/?#]*@|[^\s/?#]+:(?!//)[^\s?#]*@"), "****@"),
    (re.compile(r"(?<=://)([^\s?#]*)[?#][^\s\"'<>]*"), r"\1?****"),
    (re.compile(r"[?#&;](?=[^\s=]*=)[^\s\"'<>]*"), "?****"),
)
"""Users and passwords; whatever follows the path of an address; and of what is no address."""


def masked(text: object) -> str:
    """Return a text with addresses or words of a server, fit for messages, logs and records.

    Passwords and queries, which hold tokens and signatures, become ``****``.
    """
    line = str(text)
    if len(line) > MAX_LOOKED_AT:  # and what is cut in two may be half a secret
        first, last = line[: MAX_LOOKED_AT // 2], line[-MAX_LOOKED_AT // 2 :]
        line = (
            f"{first.rpartition(' ')[0] or first[:100]}... {last.partition(' ')[2] or last[-80:]}"
        )
    for pattern, instead in _SECRETS:
        line = pattern.sub(instead, line)
    return line


def mirror_address(url: str) -> str:
    """Return the address of a mirror without its last slash.

    Raises
    ------
    OptionError
        If it is not an HTTP(S) address, or holds a password.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is none, as in a password with a slash
        usable = parts.scheme in ("http", "https") and parts.hostname and url.isprintable()
    except ValueError:
        usable = False
    if not usable or "@" in parts.netloc or " " in url:
        raise OptionError(
            f"{masked(url)} is not a mirror; an http:// or https:// address without a password is "
            "needed."
        )
    return urlunsplit(parts._replace(path=parts.path.rstrip("/"), fragment=""))


def below(url: str, *names: str) -> str:
    """Return the address of what is below another; a query, such as a signature, stays."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path="/".join((parts.path.rstrip("/"), *names))))
