"""Exceptions: one base class, leaves that also are the builtin a caller would expect.

Every message says what was given, what is needed and what to do next, in one line.

::

    DeepsegError
     ├ BundleError(ValueError)          manifest or bundle invalid: lists every problem
     │  ├ BundleNotFoundError(FileNotFoundError)
     │  └ ChecksumError                 a file of the bundle is not the one the manifest describes
     ├ ConversionError(RuntimeError)    an official release could not be converted here
     ├ ImageError(ValueError)           image missing, not 3-D, not finite, wrong channels
     ├ NetworkError(OSError)            a transfer failed, or the network is forbidden
     ├ OutputError(OSError)             result cannot be written
     ├ OptionError(ValueError)          option does not fit this model or these inputs
     ├ ProviderError(RuntimeError)      asked-for device is not there, or its engine failed
     ├ OutOfMemoryError(MemoryError)    a case needs more memory than there is
     ├ CaseError(RuntimeError)          a case failed in a way that nobody foresaw
     └ Cancelled                        the caller's cancel hook said stop
"""

from __future__ import annotations

from deepseg_lite.text import printable


class DeepsegError(Exception):
    """Base of every error raised on purpose; its message is printable, whatever names it has."""

    def __str__(self) -> str:
        return printable(super().__str__())


class BundleError(DeepsegError, ValueError):
    """A bundle or its manifest is not usable; the message lists every problem."""


class BundleNotFoundError(BundleError, FileNotFoundError):
    """No bundle or task of that name or path is here."""


class ChecksumError(BundleError):
    """A file of a bundle differs from what its manifest records."""


class ConversionError(DeepsegError, RuntimeError):
    """An official release could not be converted into a bundle."""


class ImageError(DeepsegError, ValueError):
    """An input image is missing, unreadable or of the wrong kind."""


class NetworkError(DeepsegError, OSError):
    """A transfer failed, or the network is needed and not to be used."""


class OutputError(DeepsegError, OSError):
    """A result cannot be written."""


class OptionError(DeepsegError, ValueError):
    """An option does not fit the model or the inputs."""


class ProviderError(DeepsegError, RuntimeError):
    """The device asked for is not available, or its engine refuses the network."""


class OutOfMemoryError(DeepsegError, MemoryError):
    """A case needs more memory than there is."""


class CaseError(DeepsegError, RuntimeError):
    """A case failed in a way that nobody foresaw, which is a fault of this package."""


class Cancelled(DeepsegError):  # noqa: N818 - a request that was granted, not a failure
    """The run was stopped by the caller's cancel hook; nothing was written."""


def reason(error: BaseException) -> str:
    """Return the first line of what an error says, without its full stop; it can be printed."""
    text = str(getattr(error, "strerror", None) or error or type(error).__name__)
    line = next(iter(text.strip().splitlines()), type(error).__name__)
    return printable(line[:200]).rstrip(".")
