"""Licences that a user must accept before a first download, and the memory of those that were accepted."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from s5cli.errors import WeightsError
from s5cli.weights import places
from s5cli.weights.registry import Licence

Ask = Callable[[str], bool]
"""Puts a yes-or-no question to the user."""


def memory_path() -> Path:
    """The file that remembers accepted licences: name to the time of acceptance."""
    return places.config_dir() / "licences.json"


def accepted() -> dict[str, str]:
    """Accepted licences with the time (ISO 8601, UTC) of each."""
    return places.read_table(memory_path())


def require(licence: Licence, accept: bool = False, ask: Ask | None = None) -> None:
    """Returns if the licence needs no acceptance, was accepted before, or is accepted now; remembers the answer.

    `ask` puts the question; without it, a terminal is asked if there is one.

    Raises:
        WeightsError: not accepted; the message says how to.
    """
    if not licence.ask or licence.name in accepted():
        return
    ask = ask or on_terminal()
    if not accept and ask is None:
        raise WeightsError(
            f"{licence.title} must be accepted before the first download: read {licence.url}, then add --accept-licence"
            " (accept_licence=True in Python)"
        )
    if not accept and ask is not None and not ask(f"{licence.title} ({licence.url}): do you accept it?"):
        raise WeightsError(f"{licence.title} was not accepted, so nothing was downloaded")
    places.write_table(memory_path(), {**accepted(), licence.name: datetime.now(UTC).isoformat(timespec="seconds")})


def on_terminal() -> Ask | None:
    """A question on standard error, its answer from standard input; None where either is not a terminal."""
    return _ask if sys.stdin.isatty() and sys.stderr.isatty() else None


def _ask(question: str) -> bool:
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
