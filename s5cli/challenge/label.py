"""The label of a submitted system, `<Author>_<Affiliation>_task4_<index>`, and every name that follows from it.

Source: the output of the official baseline, and the submission rules of sibling tasks of DCASE.
"""

import re
from dataclasses import dataclass
from typing import Literal, Self

from s5cli.errors import UsageError

TASK = "task4"
MOST_SYSTEMS = 4
MOST_ABBREVIATION = 10
FORBIDDEN = "baseline"
META_SUFFIX = ".meta.yaml"

ZipName = Literal["readme", "script"]
"""Whose name the zip of stems gets: `<label>_out.zip` as the official README says, `<label>.zip` as its script does."""


@dataclass(frozen=True)
class Label:
    """A system of a team.

    Raises:
        UsageError: a part that cannot stand in a label.

    >>> str(Label("Doe", "LAB", 1))
    'Doe_LAB_task4_1'
    """

    author: str  # last name of the corresponding author
    affiliation: str  # abbreviation of the institute
    index: int  # 1…4

    def __post_init__(self) -> None:
        for what, part in (("author", self.author), ("affiliation", self.affiliation)):
            _check_part(what, part)
        if len(self.affiliation) > MOST_ABBREVIATION:
            raise UsageError(
                f"affiliation {self.affiliation!r} has {len(self.affiliation)} characters; "
                f"give an abbreviation of at most {MOST_ABBREVIATION}"
            )
        if not 1 <= self.index <= MOST_SYSTEMS:
            raise UsageError(f"index {self.index}; a team submits systems 1 to {MOST_SYSTEMS}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Inverse of `str`.

        Raises:
            UsageError: not of that form.

        >>> Label.parse("Doe_LAB_task4_2").index
        2
        """
        parts = text.split("_")
        if len(parts) != 4 or parts[2] != TASK or not re.fullmatch("[0-9]", parts[3]):
            raise UsageError(f"{text!r} is not of the form <Author>_<Affiliation>_{TASK}_<index>")
        return cls(parts[0], parts[1], int(parts[3]))

    def __str__(self) -> str:
        return f"{self.team}_{self.index}"

    @property
    def team(self) -> str:
        """What the systems of a team share."""
        return f"{self.author}_{self.affiliation}_{TASK}"

    @property
    def meta_file(self) -> str:
        return f"{self}{META_SUFFIX}"

    @property
    def audio_url_file(self) -> str:
        """One for the whole team."""
        return f"{self.team}.audio_url.txt"

    @property
    def report_file(self) -> str:
        """One for the whole team."""
        return f"{self.team}.technical_report.pdf"

    def wav_zip(self, name: ZipName) -> str:
        """
        >>> Label("Doe", "LAB", 1).wav_zip("readme")
        'Doe_LAB_task4_1_out.zip'
        """
        return wav_zips(str(self))[("readme", "script").index(name)]


def wav_zips(label: str) -> list[str]:
    """The names that a zip of stems may have, the README's first."""
    return [f"{label}_out.zip", f"{label}.zip"]


def _check_part(what: str, part: str) -> None:
    """Parts stand in names of folders and in URLs, and are told apart by underscores."""
    if not re.fullmatch("[A-Za-z0-9-]+", part):
        raise UsageError(f"{what} {part!r}; give letters a to z, digits and hyphens only, without underscore or space")
    if FORBIDDEN in part.lower():
        raise UsageError(f"{what} {part!r}: {FORBIDDEN!r} is not allowed in a label")
