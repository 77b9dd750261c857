"""Everything that can be the user's or the world's fault, and the exit code that each becomes.

An error says what is wrong, where, and what to do about it, in one line. `s5cli.cli` turns it into a message; nothing
else catches and prints.
"""

import difflib
from collections.abc import Iterable


class S5Error(Exception):
    """Base of all errors that s5cli raises on purpose. `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(S5Error):
    """The call itself is wrong: an unknown name, an impossible option, something that must be done first."""

    exit_code = 2


class InputError(S5Error):
    """A recording or reference that cannot be used."""


class OutputError(S5Error):
    """A place that cannot be written to."""


class WeightsError(S5Error):
    """Weights that are missing, damaged, of another network, or not licensed yet."""

    exit_code = 2


class NeedsTrainingError(WeightsError):
    """A part that nobody publishes and that the user trains with the commands in the message."""


class DownloadError(WeightsError):
    """A download that failed, was cut off, or did not have the expected hash."""

    exit_code = 1


class ClipsFailedError(S5Error):
    """Some clips of a run failed; the others are done."""


class RowsFailedError(S5Error):
    """Some rows of a study failed; the others are done."""


def printable(text: str, keep: str = "") -> str:
    r"""A text that may hold names of files, for a terminal: control characters and half characters are escaped.

    >>> print(printable("a\x1b[2J\nb"))
    a\x1b[2J\nb
    """
    escaped = (char.encode("unicode_escape").decode() for char in text)
    return "".join(
        char if char.isprintable() or char in keep else code for char, code in zip(text, escaped, strict=True)
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the closest known name, else nothing.

    >>> nearest("Speach", ["Speech", "Typing"])
    " (did you mean 'Speech'?)"
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
