"""Exceptions of the export toolchain, below the runtime's own base class."""

from deepseg_lite.errors import DeepsegError


class ExportError(DeepsegError):
    """An export failed; nothing was written."""


class CheckpointError(ExportError, ValueError):
    """A checkpoint is missing, unreadable, unsafe or not what its folder says."""


class UnsupportedError(ExportError, ValueError):
    """A model needs what the runtime cannot do; the message lists all of it."""


class VerificationError(ExportError, ArithmeticError):
    """The exported network does not compute what the original computes."""


class MissingPackageError(ExportError, ImportError):
    """A package of the ``export`` extra is not installed."""


class QuantizationError(ExportError, ArithmeticError):
    """A network cannot be had in a precision, or its results are too far from those in float32."""


class NoFormError(ExportError, ValueError):
    """A network keeps its canonical form alone; the message says why."""
