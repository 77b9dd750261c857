"""The user's own registry file: adding files, parts and systems to it, and taking them out again."""

from collections.abc import Mapping
from pathlib import Path

from s5cli.errors import UsageError, WeightsError, nearest
from s5cli.weights import fetch, places
from s5cli.weights.places import toml_value
from s5cli.weights.registry import KINDS, FileEntry, Registry, Table, overlay, packaged_path, parse, read, user_path

_HEADER = "# Written by `s5 weights add` and `s5 weights remove`; comments are not kept.\n"
OWN_LICENCE: Table = {"title": "the user's own file", "url": "", "ask": False}


def add_sections(path: Path) -> list[str]:
    """Adds every table of a registry file (grammar of `weights.toml`); returns what was added.

    Raises:
        WeightsError: the file is damaged, something in it leads nowhere, or a checkpoint is not what it should be.
        UsageError: a system has knobs or options that its flow has not.
    """
    from s5cli.weights import build

    if not path.is_file():
        raise WeightsError(f"{path} is not a file; give a registry file with [system.NAME], [part.NAME] or [file.NAME]")
    new = read(path)
    tables = overlay(read(user_path()), new)
    known = _parsed(tables, path)
    for name in new.get("system", {}):
        build.check(known.systems[name])
    found = {("file", name): _opened(known.files[name], known) for name in new.get("file", {})}
    _save(tables, path)
    return [f"{kind} {name}{found.get((kind, name), '')}" for kind in KINDS for name in new.get(kind, {})]


def give(file: FileEntry, path: Path, registry: Registry) -> str:
    """Takes a file that the user already has in place of a download: the checkpoint, or the zip that it is in.

    A checkpoint stays where it is; out of a zip everything that the registry knows is extracted into the cache. Returns
    what the checkpoint is, after a colon.

    Raises:
        WeightsError: the path is not a file, or a checkpoint of another network.
        DownloadError: it is not the zip that the registry means.
    """
    if path.suffix.lower() == ".zip" and file.member and path.is_file():
        fetch.unpack(path, fetch.siblings(file, registry))
        return f": with all that {path} holds of it"
    return add_file(file.name, str(path))


def add_file(name: str, source: str, **keys: str) -> str:
    """Adds a checkpoint, or gives a known one another source: a local path, or what `weights.toml` takes.

    `keys` are further keys of the entry: sha256, member, licence. Returns what the checkpoint is, after a colon.

    Raises:
        WeightsError: the path is not a file, the entry is wrong, or the checkpoint is of another network.
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
    tables = overlay(read(user_path()), own)
    registry = _parsed(tables, user_path())
    found = _opened(registry.files[name], registry)
    _save(tables, user_path())
    return found


def _opened(file: FileEntry, registry: Registry) -> str:
    """What the file of a path is, checked against its sha256 and every network that is to have it.

    Raises:
        WeightsError: it is not what it should be.
    """
    if file.path is None:
        return ": read when it is fetched first" if file.url else ""
    from s5cli.weights import build, checkpoint

    sha256, found = fetch.verify(file, file.path), checkpoint.read(file.path)
    parts = [part for part in registry.parts.values() if part.file == file]
    for part in parts:
        checkpoint.match(build.network_of(part), found, part.config)
    networks = sorted({part.network.partition(":")[2] for part in parts}) or ["no part uses it yet"]
    numbers = sum(tensor.numel() for tensor in found.tensors.values())
    size = places.amount(file.path.stat().st_size)
    return f": {', '.join(networks)}, {numbers:,} numbers in {len(found.tensors)} tensors, {size}, sha256 {sha256}"


def remove(name: str) -> str:
    """Takes the user's own entry of that name out; a packaged entry beneath it holds again. Returns its kind.

    Raises:
        UsageError: the user's file has no such entry.
        WeightsError: another of the user's entries still needs it.
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


def _parsed(tables: Mapping[str, Table], blamed: Path) -> Registry:
    return parse(overlay(read(packaged_path()), tables), blamed)


def _save(tables: Mapping[str, Table], blamed: Path) -> None:
    _parsed(tables, blamed)
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
            lines += ["[alias]", *(f"{toml_value(key)} = {toml_value(value)}" for key, value in entries.items()), ""]
        for name, entry in entries.items() if kind != "alias" else ():
            quoted = toml_value(name) if "." in name else name
            lines += [f"[{kind}.{quoted}]", *(f"{key} = {toml_value(value)}" for key, value in entry.items()), ""]
    return "".join(f"{line}\n" for line in lines)
