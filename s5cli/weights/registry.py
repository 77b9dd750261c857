"""The registry: `weights.toml` and the user's own file read into systems, parts, files and licences."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from s5cli.errors import NeedsTrainingError, UsageError, WeightsError, nearest
from s5cli.weights import http, hub, places

Table = dict[str, Any]
KINDS = ("licence", "file", "part", "system", "alias")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{,99}")  # names become file names


@dataclass(frozen=True)
class Licence:
    """Terms that a file comes under; `ask`: the user accepts them before the first download."""

    name: str
    title: str
    url: str
    ask: bool = False


@dataclass(frozen=True)
class FileEntry:
    """One checkpoint and where it comes from: a url, this package, a training recipe, or a path the user gave.

    `sha256` and `size_bytes` are those of the checkpoint itself, also where it is a member of a zip.
    """

    name: str
    licence: Licence
    url: str | None = None
    member: str | None = None
    package: str | None = None
    trained_by: str | None = None
    path: Path | None = None
    sha256: str | None = None
    size_bytes: int | None = None
    after: tuple[str, ...] = ()  # files that its training needs

    @property
    def source(self) -> str:
        """The source as `weights.toml` writes it; a member of a zip follows `#`."""
        if self.package:
            return f"package:{self.package}"
        if self.trained_by:
            return f"trained-by:{self.trained_by}"
        return f"{self.url or self.path}{f'#{self.member}' if self.member else ''}"


@dataclass(frozen=True)
class PartEntry:
    """A network, the adapter that gives it a system's view, their configurations and the checkpoint."""

    name: str
    network: str
    adapter: str
    file: FileEntry
    config: Mapping[str, Any]
    options: Mapping[str, Any]
    nparams: int | None = None  # with these weights, as the official code counts them; None: the network is asked


@dataclass(frozen=True)
class SystemEntry:
    """A section: which flow, which parts in which role, and what differs from the flow's defaults."""

    name: str
    flow: str
    summary: str
    source: str
    parts: Mapping[str, PartEntry]
    knobs: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    per_class: bool = False
    beside: tuple[str, ...] = ()  # systems that an ablation shows above this one

    @property
    def files(self) -> tuple[FileEntry, ...]:
        return tuple(part.file for part in self.parts.values())


@dataclass(frozen=True)
class Registry:
    """All that can be named."""

    systems: Mapping[str, SystemEntry]
    parts: Mapping[str, PartEntry]
    files: Mapping[str, FileEntry]
    licences: Mapping[str, Licence]
    aliases: Mapping[str, str]

    def system(self, name: str) -> SystemEntry:
        """The system of that name or alias.

        Raises:
            UsageError: there is none; the nearest name is suggested.
        """
        known = self.aliases.get(name, name)
        if known not in self.systems:
            hint = nearest(name, [*self.systems, *self.aliases])
            raise UsageError(f"unknown system {name!r}{hint}; `s5 systems` lists all")
        return self.systems[known]

    def file(self, name: str) -> FileEntry:
        """The checkpoint of that name.

        Raises:
            UsageError: there is none; the nearest name is suggested.
        """
        if name not in self.files:
            raise UsageError(f"unknown file {name!r}{nearest(name, self.files)}; `s5 weights list` lists all")
        return self.files[name]


def needs_training(what: str, files: Iterable[FileEntry]) -> NeedsTrainingError:
    """The error for parts that nobody publishes, with the command that makes each."""
    commands = " and ".join(f"`s5 train {file.trained_by} --sources DIR -o RUN`" for file in files)
    return NeedsTrainingError(f"{what} needs training, as nobody publishes these weights: run {commands}")


def packaged_path() -> Path:
    """`weights.toml` beside the package's modules (installed) or one folder up (a checkout)."""
    package = Path(__file__).parent.parent
    beside = package / "weights.toml"
    return beside if beside.is_file() else package.parent / "weights.toml"


def user_path() -> Path:
    """The user's own registry, which `s5 weights add` writes. Same grammar; its entries go before the packaged ones."""
    return places.config_dir() / "weights.toml"


def registry() -> Registry:
    """The packaged registry with the user's own entries over it.

    Raises:
        WeightsError: one of the two files is damaged; the message names the entry.
    """
    return parse(overlay(read(packaged_path()), read(user_path())), user_path())


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The raw tables of a registry file; empty where there is no file.

    Raises:
        WeightsError: not TOML, or a table of a kind that no registry has.
    """
    try:
        tables = places.read_toml(path) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error}); repair it, or delete it if it is your own") from error
    for kind, entries in tables.items():
        if kind not in KINDS or not isinstance(entries, dict):
            known = ", ".join(f"[{one}.NAME]" for one in KINDS)
            raise WeightsError(f"{path}: unknown table [{kind}]; a registry has {known}")
    return tables


def overlay(base: Mapping[str, Table], own: Mapping[str, Table]) -> dict[str, Table]:
    """Own entries in place of base's; a file entry that has no source keeps base's, with the user's path before it."""
    merged = {kind: {**base.get(kind, {}), **own.get(kind, {})} for kind in KINDS}
    for name, entry in own.get("file", {}).items():
        if isinstance(entry, dict) and "source" not in entry:
            kept = {k: v for k, v in base.get("file", {}).get(name, {}).items() if k not in ("sha256", "size_bytes")}
            merged["file"][name] = {**kept, **entry}
    return merged


def parse(tables: Mapping[str, Table], path: Path) -> Registry:
    """Raw tables to entries. `path` is the file that a message names.

    Raises:
        WeightsError: an unknown, missing or wrong key, or a name that leads nowhere.
    """
    reader = _Reader(path)
    licences = {name: reader.licence(name, entry) for name, entry in tables.get("licence", {}).items()}
    files = {name: reader.file(name, entry, licences) for name, entry in tables.get("file", {}).items()}
    parts = {name: reader.part(name, entry, files) for name, entry in tables.get("part", {}).items()}
    systems = {name: reader.system(name, entry, parts) for name, entry in tables.get("system", {}).items()}
    for name, file in files.items():
        for other in file.after:
            reader.lookup(f"file.{name}", "file", other, files)
    for name, system in systems.items():
        for other in system.beside:
            reader.lookup(f"system.{name}", "system", other, systems)
    aliases = tables.get("alias", {})
    for name, target in aliases.items():
        reader.lookup(f"alias.{name}", "system", target, systems)
    return Registry(systems, parts, files, licences, aliases)


@dataclass(frozen=True)
class _Reader:
    """Turns raw tables into entries and says in one line which entry of which file is wrong."""

    path: Path

    def licence(self, name: str, entry: Any) -> Licence:
        where = f"licence.{name}"
        self._check(where, name, entry, {"title": str, "url": str}, {"ask": bool})
        return Licence(name, **entry)

    def file(self, name: str, entry: Any, licences: Mapping[str, Licence]) -> FileEntry:
        where = f"file.{name}"
        text = dict.fromkeys(("source", "member", "sha256", "path"), str)
        self._check(where, name, entry, {"licence": str}, {**text, "size_bytes": int, "after": list})
        fields: Table = {key: value for key, value in entry.items() if key not in ("source", "licence", "path")}
        fields["after"] = tuple(entry.get("after", ()))
        if "source" not in entry and "path" not in entry:
            raise self._wrong(where, "has neither a source nor a path")
        if "member" in entry and not is_inside(entry["member"]):
            raise self._wrong(where, f"has a member {entry['member']!r} that points outside its zip")
        if "sha256" in entry and not re.fullmatch(r"[0-9a-fA-F]{64}", entry["sha256"]):
            raise self._wrong(where, f"has sha256 = {entry['sha256']!r}, which should be 64 hexadecimal digits")
        if "sha256" in entry:
            fields["sha256"] = entry["sha256"].lower()
        source = self._source(where, entry.get("source"))
        self._check_url(where, source.get("url"), "sha256" in entry)
        terms = self.lookup(where, "licence", entry["licence"], licences)
        path = self._path(where, entry["path"]) if "path" in entry else None
        return FileEntry(name, terms, path=path, **{**fields, **source})

    def part(self, name: str, entry: Any, files: Mapping[str, FileEntry]) -> PartEntry:
        where = f"part.{name}"
        required = dict.fromkeys(("network", "adapter", "file"), str)
        self._check(where, name, entry, required, {"config": dict, "options": dict, "nparams": int})
        for key in ("network", "adapter"):
            self._module_and_name(where, key, entry[key])
        file = self.lookup(where, "file", entry["file"], files)
        tables = {key: entry.get(key, {}) for key in ("config", "options")}
        return PartEntry(name, entry["network"], entry["adapter"], file, **tables, nparams=entry.get("nparams"))

    def system(self, name: str, entry: Any, parts: Mapping[str, PartEntry]) -> SystemEntry:
        where = f"system.{name}"
        required = {**dict.fromkeys(("flow", "summary", "source"), str), "parts": dict}
        self._check(where, name, entry, required, {"knobs": dict, "options": dict, "per_class": bool, "beside": list})
        self._module_and_name(where, "flow", entry["flow"])
        roles = {role: self.lookup(where, "part", part, parts) for role, part in entry["parts"].items()}
        return SystemEntry(name, **{"knobs": {}, **entry, "parts": roles, "beside": tuple(entry.get("beside", ()))})

    def lookup(self, where: str, kind: str, name: Any, known: Mapping[str, Any]) -> Any:
        """What `name` refers to."""
        if not isinstance(name, str) or name not in known:
            raise self._wrong(where, f"names an unknown {kind} {name!r}{nearest(str(name), known)}")
        return known[name]

    def _check(
        self, where: str, name: str, entry: Any, required: Mapping[str, type], optional: Mapping[str, type]
    ) -> None:
        if not _NAME.fullmatch(name):
            raise self._wrong(where, "has a name that is not made of letters, digits, '.', '_' and '-'")
        if not isinstance(entry, dict):
            raise self._wrong(where, "is not a table")
        known = {**required, **optional}
        for key in required:
            if key not in entry:
                raise self._wrong(where, f"lacks {key!r}")
        for key, value in entry.items():
            if key not in known:
                raise self._wrong(where, f"has an unknown key {key!r}{nearest(key, known)}")
            if type(value) is not known[key]:
                raise self._wrong(where, f"has {key} = {value!r}, which should be of type {known[key].__name__}")

    def _source(self, where: str, source: str | None) -> dict[str, str]:
        schemes = {"https": "url", "http": "url", "hf": "url", "package": "package", "trained-by": "trained_by"}
        if source is None:
            return {}
        scheme, _, rest = source.partition(":")
        if scheme not in schemes or not rest:
            raise self._wrong(where, f"has an unknown source {source!r}; it starts with {', '.join(schemes)}")
        field = schemes[scheme]
        if field != "url" and not _NAME.fullmatch(rest):
            raise self._wrong(where, f"has a source {source!r} whose name is not made of letters, digits, '_' and '-'")
        return {field: source if field == "url" else rest}

    def _check_url(self, where: str, url: str | None, has_hash: bool) -> None:
        if url is None:
            return
        try:
            parts = urlsplit(url)
            whole = bool(hub.parse(url) if parts.scheme == "hf" else parts.hostname and parts.port != 0)
        except (ValueError, WeightsError) as error:
            raise self._wrong(where, f"has a source that is no url: {url!r} ({error})") from error
        if not whole or re.search(r"[\s\x00-\x1f\x7f]", url):
            raise self._wrong(where, f"has a source that is no url: {url!r}")
        if parts.scheme == "http" and not http.is_safe(url) and not has_hash:
            raise self._wrong(
                where, f"has a source that anybody on the way may change, {url!r}; use https or add sha256"
            )

    def _path(self, where: str, text: str) -> Path:
        try:
            path = Path(text).expanduser()
        except RuntimeError as error:  # no such user
            raise self._wrong(where, f"has path = {text!r} ({error})") from error
        if "\0" in text:
            raise self._wrong(where, f"has path = {text!r}, which no file can have")
        return path

    def _module_and_name(self, where: str, key: str, text: str) -> None:
        if not re.fullmatch(r"[\w.]+:\w+", text):
            raise self._wrong(where, f"has {key} = {text!r}, which should be 'module:Name'")

    def _wrong(self, where: str, what: str) -> WeightsError:
        return WeightsError(f"{self.path}: [{where}] {what}")


def is_inside(member: str) -> bool:
    """Whether a path inside an archive stays inside it.

    >>> is_inside("checkpoint/m2dat_1c.ckpt"), is_inside("../m2dat_1c.ckpt"), is_inside("C:\\\\m2dat_1c.ckpt")
    (True, False, False)
    """
    steps = re.split(r"[/\\]", member)
    return all(step not in ("", "..") and ":" not in step for step in steps)
