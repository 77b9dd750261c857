"""The meta file of a submitted system: YAML whose keys stand in `schema.toml`.

What the program knows is filled in. What only a person knows is marked `TODO`, and stays as the person wrote it when
the file is composed again. `null` is written as `!!null`, as DCASE does; both are the same to a YAML reader.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from s5cli.errors import InputError, nearest
from s5cli.scene import RATE_HZ

TODO = "TODO"
MOST_BYTES = 1 << 17  # a complete one takes five thousand
MOST_DEPTH = 30
ITEM = "[]"
URL_FORM = "an address that begins with https:// or http://"
HEADER = f"# {TODO} marks what only a person knows; `s5 validate` lists what is left.\n"

Kind = Literal["text", "words", "number", "integer", "flag", "url", "email", "list"]


@dataclass(frozen=True)
class Facts:
    """What a program can know of a submitted system, by the names that `schema.toml` gives; None: it does not."""

    label: str
    author: str
    affiliation: str
    nparams: int
    macs: int | None  # for a clip of 10 s
    capi_sdri_db: float | None
    accuracy_mixture_percent: float | None
    accuracy_source_percent: float | None
    framework: str = "PyTorch"
    corresponding: bool = True
    sampling_rate_hz: int = RATE_HZ
    sampling_rate_khz: float = RATE_HZ / 1000


@dataclass(frozen=True)
class Key:
    """A key of the schema, see the comments there."""

    path: str
    kind: Kind
    nullable: bool = False
    optional: bool = False
    most: int | None = None
    least: int = 0
    forbidden: str | None = None
    also: str | None = None
    fill: str | None = None
    propose: str | None = None
    hint: str | None = None


@dataclass(frozen=True)
class Node:
    """A key with those below it; a table of keys has no key of its own."""

    key: Key | None = None
    below: dict[str, "Node"] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """Something wrong with a meta file; what is only unknown is not fatal."""

    path: str
    what: str
    fatal: bool = True


class _Missing:
    """The answer that nobody gave; None is one."""


MISSING: Final = _Missing()


@cache
def schema() -> Node:
    """The tree of all keys."""
    tables = tomllib.loads((Path(__file__).parent / "schema.toml").read_text(encoding="utf-8"))["key"]
    return grown([Key(**table) for table in tables])


def grown(keys: Sequence[Key]) -> Node:
    """Keys as a tree; the entries of a list stand below `[]`.

    >>> grown([Key("a.b[].c", "text")]).below["a"].below["b"].below["[]"].below["c"].key.kind
    'text'
    """
    root = Node()
    for key in keys:
        node, steps = root, key.path.replace(ITEM, f".{ITEM}").split(".")
        for step in steps[:-1]:
            node = node.below.setdefault(step, Node())
        node.below[steps[-1]] = Node(key)
    return root


# --- write and read ---------------------------------------------------------------------------------------------------


def composed(facts: Facts, answers: Any = MISSING) -> dict[str, Any]:
    """The content of a meta file: facts, what a person answered in an earlier one, and TODO for the rest."""
    content: dict[str, Any] = _composed(schema(), facts, answers)
    return content


def _composed(node: Node, facts: Facts, answer: Any) -> Any:
    if ITEM in node.below and (isinstance(answer, list) or node.key is None or node.key.hint is None):
        return [_composed(node.below[ITEM], facts, each) for each in (answer if isinstance(answer, list) else [{}])]
    if node.key is None:
        given = answer if isinstance(answer, Mapping) else {}
        known = {_spelling(name, child, given): child for name, child in node.below.items()}
        filled = {name: _composed(child, facts, given.get(name, MISSING)) for name, child in known.items()}
        return {**filled, **{name: value for name, value in given.items() if name not in known}}
    return _leaf(node.key, facts, answer)


def _leaf(key: Key, facts: Facts, answer: Any) -> Any:
    if key.fill and (fact := getattr(facts, key.fill)) is not None:
        return fact
    if answer is not MISSING and not is_todo(answer):
        return answer
    if key.propose:
        return getattr(facts, key.propose)
    return None if key.optional else f"{TODO} ({key.hint})" if key.hint else TODO


def _spelling(name: str, node: Node, given: Mapping[str, Any]) -> str:
    also = node.key.also if node.key else None
    return also if also is not None and also in given and name not in given else name


def is_todo(value: object) -> bool:
    """Whether a person has not filled this in yet.

    >>> is_todo("TODO (city, country)"), is_todo("Todoland")
    (True, False)
    """
    return isinstance(value, str) and value.startswith(TODO)


def dumps(content: Mapping[str, Any], notes: Sequence[str] = ()) -> str:
    """The text of a meta file, with notes as comments at its top."""
    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=10_000)
    dcase_style = re.sub(r"(?m)(?<=: )null$", "!!null", text)
    text = dcase_style if yaml.safe_load(dcase_style) == content else text
    return HEADER + "".join(f"# {line}\n" for note in notes for line in note.splitlines()) + text


def loads(text: bytes) -> Any:
    """The content of a meta file.

    Raises:
        InputError: it is not YAML, or of a kind that takes a reader gigabytes or hours.
    """
    try:
        _check_events(text)
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"is not YAML ({' '.join(str(error).split())})") from error


def _check_events(text: bytes) -> None:
    """A few lines of references unfold to gigabytes; a line of brackets takes the square of its length."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise InputError("holds references (*name); write out what they stand for")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise InputError(f"is nested more than {MOST_DEPTH} levels deep")


# --- check ------------------------------------------------------------------------------------------------------------


def problems(content: Any) -> list[Problem]:
    """Everything that is wrong with the content of a meta file."""
    found = list(_problems(schema(), content, ""))
    corresponding = _values(schema(), content, "corresponding")
    if corresponding and sum(value is True for value in corresponding) != 1:
        found.append(Problem("", "exactly one author is the corresponding one"))
    return found


def _problems(node: Node, value: Any, path: str) -> Iterator[Problem]:
    key = node.key
    if key is not None and (is_todo(value) or key.kind != "list" or not isinstance(value, list)):
        if (wrong := _wrong(key, value)) is not None:
            yield Problem(path, wrong)
    elif key is not None:
        if len(value) < key.least:
            yield Problem(path, f"needs {key.least} or more entries")
        for number, each in enumerate(value):
            yield from _problems(node.below[ITEM], each, f"{path}[{number}]")
    elif not isinstance(value, Mapping):
        yield Problem(path, "should be a table of keys")
    else:
        yield from _table_problems(node, value, path)


def _table_problems(node: Node, table: Mapping[Any, Any], path: str) -> Iterator[Problem]:
    known = {_spelling(name, child, table): child for name, child in node.below.items()}
    for name, child in known.items():
        where = f"{path}.{name}" if path else name
        if name in table:
            yield from _problems(child, table[name], where)
        elif _required(child):
            yield Problem(where, "is missing")
    for name in table:
        if name not in known:
            yield Problem(
                f"{path}.{name}" if path else str(name), f"unknown key{nearest(str(name), known)}", fatal=False
            )


def _required(node: Node) -> bool:
    return not node.key.optional if node.key else any(_required(child) for child in node.below.values())


def _wrong(key: Key, value: object) -> str | None:
    """What is wrong with one value; None: nothing."""
    if is_todo(value):
        return f"left to fill in: {value}"
    if value is None:
        return None if key.nullable else "is null, but must be given"
    if not _fits(key.kind, value):
        return f"is {value!r}, which should be {_CALLED[key.kind]}"
    if key.most and isinstance(value, str) and len(value) > key.most:
        return f"is {value!r}, longer than {key.most} characters"
    if key.forbidden and isinstance(value, str) and key.forbidden in value.lower():
        return f"is {value!r}; {key.forbidden!r} is not allowed in it"
    return None


_CALLED: dict[Kind, str] = {
    "text": "a text",
    "words": "a text or a list of texts",
    "number": "a number",
    "integer": "a whole number, 0 or more",
    "flag": "true or false",
    "url": URL_FORM,
    "email": "an e-mail address",
    "list": "a list",
}


def _fits(kind: Kind, value: object) -> bool:
    match kind:
        case "words" if isinstance(value, list):
            return bool(value) and all(_fits("text", each) and not is_todo(each) for each in value)
        case "text" | "words":
            return isinstance(value, str) and bool(value.strip())
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool) and value >= 0
        case "flag":
            return isinstance(value, bool)
        case "url":
            return isinstance(value, str) and is_url(value)
        case "email":
            return isinstance(value, str) and bool(re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value))
        case "list":
            return isinstance(value, list)


def is_url(text: str) -> bool:
    """Whether somebody can follow it.

    >>> is_url("https://zenodo.org/records/1"), is_url("zenodo.org")
    (True, False)
    """
    return bool(re.fullmatch(r"https?://[^\s/]+\S*", text))


def stated(content: Any, fact: str) -> list[Any]:
    """What a meta file says of a fact, wherever the schema has that one filled in."""
    return [value for value in _values(schema(), content, fact) if not is_todo(value)]


def _values(node: Node, value: Any, fact: str) -> list[Any]:
    if ITEM in node.below:
        entries = value if isinstance(value, list) else []
        return [found for each in entries for found in _values(node.below[ITEM], each, fact)]
    if node.key is not None:
        return [value] if fact in (node.key.fill, node.key.propose) else []
    table = value if isinstance(value, Mapping) else {}
    return [found for name, child in node.below.items() if name in table for found in _values(child, table[name], fact)]
