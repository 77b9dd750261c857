"""What a validation finds: errors, which organisers would stumble over, and warnings, which a person should know."""

from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning"]
Rule = Literal[
    "layout",  # which files and folders there are
    "label",  # names of systems and teams
    "name",  # names of stems
    "slots",  # their numbers
    "count",  # at most three
    "listed",  # JSON and stems one to one
    "covered",  # every soundscape is there
    "json",  # fields of a result file
    "probability",
    "nparams",
    "score",  # development scores
    "audio",  # stems that cannot be read as a WAV file
    "rate",
    "channels",
    "subtype",
    "length",
    "finite",
    "clipping",
    "silent",
    "meta",
    "url",
    "report",
    "agree",  # between files
]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth a look."""

    severity: Severity
    rule: Rule
    where: str
    what: str

    @property
    def line(self) -> str:
        """For people.

        >>> Finding("error", "rate", "a_0_Speech.wav", "16000 Hz, not 32000 Hz").line
        'error [rate] a_0_Speech.wav: 16000 Hz, not 32000 Hz'
        """
        return f"{self.severity} [{self.rule}] {self.where}: {self.what}"


@dataclass(frozen=True)
class Findings:
    """Collects findings about one place; those of places within it go into the same list."""

    where: str
    found: list[Finding] = field(default_factory=list)

    def within(self, name: str) -> "Findings":
        """For a file or folder here."""
        return Findings(f"{self.where}/{name}", self.found)

    def error(self, rule: Rule, what: str) -> None:
        self.found.append(Finding("error", rule, self.where, what))

    def warning(self, rule: Rule, what: str) -> None:
        self.found.append(Finding("warning", rule, self.where, what))
