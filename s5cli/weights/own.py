"""The user's own registry file: adding files, parts and systems to it, and taking them out again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s5cli.errors import UsageError, WeightsError, nearest
from s5cli.weights import fetch, places
from s5cli.weights.registry import KINDS, FileEntry, Registry, Table, overlay, packaged_path, parse, read, user_path

_HEADER = "# Written by `s5 weights add` and `s5 weights remove`; comments are not kept.\n"
OWN_LICENCE: Table = {"title": "the user's own file", "url": "", "ask": False}


def add_sections(path: Path) -> list[str]:
    """Adds every table of a registry file (grammar of `weights.toml`); returns the names of what was added.

    Raises:
        WeightsError: the file is damaged, or something in it leads nowhere.
    """
    if not path.is_file():
        raise WeightsError(f"{path} is not a file; give a registry file with [system.NAME], [part.NAME] or [file.NAME]")
    new = read(path)
    _save(overlay(read(user_path()), new), path)
    return [f"{kind} {name}" for kind in KINDS for name in new.get(kind, {})]


def give(file: FileEntry, path: Path, registry: Registry) -> None:
    """Takes a file that the user already has in place of a download: the checkpoint, or the zip that it is in.

    A checkpoint stays where it is; out of a zip everything that the registry knows is extracted into the cache.

    Raises:
        WeightsError: the path is not a file.
        DownloadError: it is not the zip that the registry means.
    """
    if path.suffix.lower() == ".zip" and file.member and path.is_file():
        fetch.unpack(path, fetch.siblings(file, registry))
    else:
        add_file(file.name, str(path))


def add_file(name: str, source: str, **keys: str) -> None:
    """Adds a checkpoint, or gives a known one another source: a local path, or what `weights.toml` takes.

    `keys` are further keys of the entry: sha256, member, licence.

    Raises:
        WeightsError: the path is not a file, or the entry is wrong.
    """
    remote = source.startswith(("https:", "http:", "hf:", "package:", "trained-by:"))
    path = Path(source).expanduser().absolute()
    if not remote and not path.is_file():
        raise WeightsError(
            f"{path} is not a file; give the checkpoint that stands for {name!r}, or an https:// or hf:// url"
        )
    known = name in read(packaged_path()).get("file", {})
    entry: Table = {"source": source} if remote else {"path": str(path)}
    if remote or not known:
        entry["licence"] = "own"
    own = {"licence": {"own": OWN_LICENCE}, "file": {name: {**entry, **keys}}}
    _save(overlay(read(user_path()), own), user_path())


def remove(name: str) -> str:
    """Takes the user's own entry of that name out; a packaged entry beneath it holds again. Returns its kind.

    Raises:
        UsageError: the user's file has no such entry.
        WeightsError: another entry of his still needs it.
    """
    tables = read(user_path())
    for kind in ("system", "part", "file", "alias", "licence"):
        if name in tables.get(kind, {}):
            rest = {key: value for key, value in tables[kind].items() if key != name}
            _save({**tables, kind: rest}, user_path())
            return kind
    own = [entry for entries in tables.values() for entry in entries]
    raise UsageError(
        f"nothing named {name!r} was added with `s5 weights add`{nearest(name, own)}; packaged entries stay"
    )


def _save(tables: Mapping[str, Table], blamed: Path) -> None:
    parse(overlay(read(packaged_path()), tables), blamed)
    with places.whole(user_path()) as temporary:
        temporary.write_text(_HEADER + to_toml(tables), encoding="utf-8")


def to_toml(tables: Mapping[str, Table]) -> str:
    """Registry tables as TOML.

    >>> print(to_toml({"file": {"mine": {"path": "/a b.ckpt", "licence": "own"}}, "alias": {"x": "y"}}), end="")
    [file.mine]
    path = "/a b.ckpt"
    licence = "own"
    <BLANKLINE>
    [alias]
    "x" = "y"
    <BLANKLINE>
    """
    lines: list[str] = []
    for kind, entries in tables.items():
        if kind == "alias" and entries:
            lines += ["[alias]", *(f"{_value(key)} = {_value(value)}" for key, value in entries.items()), ""]
        for name, entry in entries.items() if kind != "alias" else ():
            quoted = _value(name) if "." in name else name
            lines += [f"[{kind}.{quoted}]", *(f"{key} = {_value(value)}" for key, value in entry.items()), ""]
    return "".join(f"{line}\n" for line in lines)


def _value(value: Any) -> str:
    """One TOML value. JSON's strings, numbers and booleans are TOML's too; DEL alone must be escaped besides."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_value(key)} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
