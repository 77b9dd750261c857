"""The 18 target classes of DCASE 2026 Task 4 in official order (arXiv:2604.00776)."""

CLASSES: tuple[str, ...] = (
    "AlarmClock",
    "BicycleBell",
    "Blender",
    "Buzzer",
    "Clapping",
    "Cough",
    "CupboardOpenClose",
    "Dishes",
    "Doorbell",
    "FootSteps",
    "HairDryer",
    "MechanicalFans",
    "MusicalKeyboard",
    "Percussion",
    "Pour",
    "Speech",
    "Typing",
    "VacuumCleaner",
)
N_CLASSES = len(CLASSES)
SILENCE = "silence"
SILENCE_INDEX = N_CLASSES
"""A tagger's 19th output. A separator has no such class: its silence is the all-zero query."""
N_SLOTS = 3
"""Most target sources that a mixture of the challenge holds at once."""

_INDEX = {name.casefold(): index for index, name in enumerate(CLASSES)}


def listed(text: str) -> tuple[str, ...]:
    """Names that a user wrote with commas between them, none for an empty text; whether they are classes is not asked.

    >>> listed("Speech, Speech,Dishes")
    ('Speech', 'Speech', 'Dishes')
    """
    return tuple(name.strip() for name in text.split(",")) if text else ()


def index_of(name: str) -> int:
    """Official index of a target class, in whatever case it is written.

    Raises:
        UsageError: the name is not one of the 18 classes; the nearest one is suggested.

    >>> index_of("Speech"), index_of("alarmclock")
    (15, 0)
    """
    from s5cli.errors import UsageError, nearest

    if name.casefold() not in _INDEX:
        raise UsageError(f"unknown class {name!r}{nearest(name, CLASSES)}; the 18 classes are {', '.join(CLASSES)}")
    return _INDEX[name.casefold()]
