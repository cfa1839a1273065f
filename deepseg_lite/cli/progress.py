"""Progress of a batch: one line that changes on a terminal, else a line for each case."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

from deepseg_lite.text import one_line, printable, shortened

ESTIMATE_AFTER = 2
"""Cases after which the remaining time is told."""


class Progress:
    """Progress of a batch, told on standard error.

    Parameters
    ----------
    total : int
        Jobs in all.
    hidden : bool
        Whether only failures are told.

    Attributes
    ----------
    done, failed : int
        Jobs so far.
    """

    def __init__(self, total: int, *, hidden: bool = False) -> None:
        self.total, self.done, self.failed = total, 0, 0
        self._worked = 0
        self._hidden = hidden
        self._is_terminal = sys.stderr.isatty()
        self._began = monotonic()

    def tell(self, report: Mapping[str, Any]) -> None:
        """Tell of a job that ended."""
        is_done = report["status"] == "done"
        self.done += is_done
        self.failed += not is_done
        self._worked += not report["was_done"]
        name = printable(f"{report['task']} {report['case']}")
        if not is_done:
            before = " (before; --retry-failed tries it again)" if report["was_done"] else ""
            self._line(one_line(f"{name}: failed{before}: {report.get('Error')}"))
        elif self._hidden or (self._is_terminal and not report.get("Warnings")):
            pass
        elif not report["was_done"]:
            codes = ", ".join(warning["code"] for warning in report.get("Warnings", ()))
            seconds = sum((report.get("Seconds") or {}).values())
            said = f" ({codes})" if codes else ""
            self._line(f"{name}: done in {seconds:.1f} s{said} [{self.summary()}]")
        self._draw(self.summary())

    def summary(self) -> str:
        """Return what is done, failed and left, the rate, and the remaining time."""
        left = self.total - self.done - self.failed
        words = [f"{self.done} done", f"{self.failed} failed", f"{left} left"]
        spent = monotonic() - self._began
        if self._worked >= ESTIMATE_AFTER and spent > 0:
            rate = self._worked / spent
            words.append(f"{_rate(rate)}")
            if left:
                words.append(f"{_duration(left / rate)} to go")
        return ", ".join(words)

    def stopping(self) -> None:
        """Tell that the run ends after the cases under way."""
        self._line("stopping after the cases under way; Ctrl-C again stops at once.")

    def end(self) -> None:
        """Tell the sum."""
        self._draw("")
        if not self._hidden:
            self._line(self.summary())

    def _line(self, text: str) -> None:
        self._draw("")
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)

    def _draw(self, text: str) -> None:
        """Draw the line that changes, on a terminal."""
        if self._is_terminal and not self._hidden:
            width = shutil.get_terminal_size().columns - 1
            with suppress(OSError):
                print(f"\r\x1b[K{shortened(text, width)}", end="", file=sys.stderr, flush=True)


def _rate(rate: float) -> str:
    """Return cases per second as people say it."""
    if rate >= 1:
        return f"{rate:.1f} a second"
    return f"{rate * 60:.1f} a minute" if rate * 60 >= 1 else f"{rate * 3600:.1f} an hour"


def _duration(seconds: float) -> str:
    """Return a time in the two largest units."""
    minutes, hours = seconds / 60, seconds / 3600
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes:.0f} min"
    return f"{int(hours)} h {round(minutes) % 60} min" if hours < 48 else f"{hours / 24:.1f} days"
