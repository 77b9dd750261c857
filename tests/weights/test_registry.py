"""What a registry file may say, what it may not, and the user's own file over the packaged one."""

import math
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s5cli.cli import exit_code
from s5cli.errors import S5Error, UsageError, WeightsError
from s5cli.nn.m2d import M2DTagger1ch
from s5cli.weights import fetch, hashes, own, registry
from s5cli.weights.registry import Table, is_inside, parse
from tests.weights.tiny import contents, registry_of, tables, write_hollow

FILES = {"tagger": {"source": "https://example.org/a.zip", "member": "a.ckpt", "sha256": "ab" * 32, "size_bytes": 3}}


def test_a_registry_reads_as_written() -> None:
    known = registry_of(FILES, knobs={"drop": 0.25}, per_class=True)
    entry = known.system("small")
    assert entry.name == "tiny"
    assert (entry.knobs, entry.per_class, entry.flow) == ({"drop": 0.25}, True, "tests.weights.tiny:Flow")
    file = entry.parts["tagger"].file
    assert file == known.file("tagger")
    assert (file.url, file.member, file.sha256, file.size_bytes) == (
        "https://example.org/a.zip",
        "a.ckpt",
        "ab" * 32,
        3,
    )
    assert file.source == "https://example.org/a.zip#a.ckpt"


@pytest.mark.parametrize(
    ("source", "field", "value"),
    [
        ("hf://o/r/f@v1", "url", "hf://o/r/f@v1"),
        ("package:small", "package", "small"),
        ("trained-by:head", "trained_by", "head"),
    ],
)
def test_sources(source: str, field: str, value: str) -> None:
    file = registry_of({"tagger": {"source": source}}).file("tagger")
    assert getattr(file, field) == value
    assert file.source == source


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    known = registry.registry()
    with pytest.raises(UsageError, match="did you mean 'tagging-driven-3'"):
        known.system("taging-driven-3")
    with pytest.raises(UsageError, match="did you mean 'm2dat-1c'"):
        known.file("m2dat1c")


def broken(kind: str, name: str, **keys: object) -> dict[str, Table]:
    content = tables(FILES)
    content[kind][name] = {
        key: value for key, value in {**content[kind].get(name, {}), **keys}.items() if value is not None
    }
    return content


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (broken("file", "tagger", licence=None), "[file.tagger] lacks 'licence'"),
        (broken("file", "tagger", licence="none"), "unknown licence 'none'"),
        (broken("file", "tagger", source=None), "neither a source nor a path"),
        (broken("file", "tagger", source="ftp://x"), "unknown source 'ftp://x'"),
        (broken("file", "tagger", source="package:../x"), "package:../x"),
        (broken("file", "tagger", source="trained-by:a/b"), "trained-by:a/b"),
        (broken("file", "tagger", member="../a.ckpt"), "points outside"),
        (broken("file", "tagger", source="http://[::1/x"), "is no url: 'http://[::1/x'"),
        (broken("file", "tagger", source="https://example.org:port/x"), "is no url"),
        (broken("file", "tagger", source="https:x"), "is no url"),
        (broken("file", "tagger", source="https://example.org/a b"), "is no url"),
        (broken("file", "tagger", source="https://example.org/a\x1b[2J"), "is no url"),
        (broken("file", "tagger", source="hf://lab"), "hf://OWNER/REPO/FILE@REVISION"),
        (broken("file", "tagger", source="http://example.org/x", sha256=None), "anybody on the way may change"),
        (broken("file", "tagger", sha256="ab"), "64 hexadecimal digits"),
        (broken("file", "tagger", path="~nobody-of-this-name/x"), "home directory"),
        (broken("file", "tagger", path="a\0b"), "which no file can have"),
        (broken("file", "x" * 101, source="package:a", licence="free"), "made of letters"),
        (broken("file", "tagger", sha265="x"), "did you mean 'sha256'"),
        (broken("file", "tagger", size_bytes="3"), "type int"),
        (broken("file", "../x", source="package:a", licence="free"), "made of letters"),
        (broken("part", "tagger", file="tager"), "did you mean 'tagger'"),
        (broken("part", "tagger", network="os.system"), "'module:Name'"),
        (broken("part", "tagger", adapter=3), "type str"),
        (broken("system", "tiny", parts={"tagger": "x"}), "unknown part 'x'"),
        (broken("system", "tiny", parts=None), "lacks 'parts'"),
        (broken("system", "tiny", flow="x"), "'module:Name'"),
        ({**tables(FILES), "alias": {"a": "b"}}, "unknown system 'b'"),
        ({**tables(FILES), "file": {"tagger": 3}}, "is not a table"),
    ],
)
def test_a_wrong_entry_is_named(content: dict[str, Table], expected: str) -> None:
    with pytest.raises(WeightsError) as caught:
        parse(content, Path("some/weights.toml"))
    assert expected in str(caught.value)
    assert str(caught.value).startswith("some/weights.toml: [")


@pytest.mark.parametrize("url", ["http://localhost/a", "http://127.0.0.1:80/a", "http://[::1]/a", "https://x.org/a"])
def test_what_nobody_can_change_on_the_way_needs_no_hash(url: str) -> None:
    assert registry_of({"tagger": {"source": url}}).file("tagger").url == url


def test_plain_http_is_taken_with_a_hash() -> None:
    assert registry_of({"tagger": {"source": "http://example.org/a", "sha256": "ab" * 32}}).file("tagger").sha256


@pytest.mark.parametrize(
    "text",
    [
        *("[file", "file = 3", "[sytem.x]\na = 1", "\x00"),
        pytest.param("[system.x]\nknobs = " + "[" * 5000, id="deep array"),
        pytest.param("[system.x]\nknobs = " + "{a=" * 40 + "1" + "}" * 40, id="deep table"),
        pytest.param("[system.x]\nknobs." + "a." * 4000 + "a = 1", id="deep dotted key"),
        pytest.param("[system.x]\n" + "a." * 100_000 + "a = 1", id="a line without end"),
        pytest.param("[system.x]\n" + "#\n" * 200_000, id="huge"),
        pytest.param("[file.x]\nsize_bytes = 1" + "0" * 400, id="10^400"),
        pytest.param("[file.x]\nsize_bytes = 1" + "0" * 5000, id="10^5000"),
    ],
)
def test_a_damaged_own_file_is_named(text: str) -> None:
    registry.user_path().parent.mkdir(parents=True)
    registry.user_path().write_text(text)
    with pytest.raises(WeightsError, match=str(registry.user_path())):
        registry.registry()


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 9000 + "]" * 9000, '{"a": 1', '{"a": 1}', "[]"])
def test_a_damaged_record_of_hashes_is_named(text: str) -> None:
    hashes.record_path().parent.mkdir(parents=True)
    hashes.record_path().write_text(text)
    with pytest.raises(WeightsError, match=str(hashes.record_path())):
        hashes.recorded("x")


@pytest.mark.parametrize("path", ["/" + "x" * 300, "/dev/null/x", "/" + "x/" * 3000])
def test_a_path_that_cannot_be_is_missing(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    registry.user_path().parent.mkdir(parents=True)
    registry.user_path().write_text(own.to_toml({"file": {"m2dat-1c": {"path": path}}}))
    assert fetch.status(registry.registry().file("m2dat-1c")) == "missing"
    assert exit_code(["weights", "list"]) == 0
    assert exit_code(["weights", "remove", "m2dat-1c"]) == 0


# --- the user's own --------------------------------------------------------------------------------------------------


def test_an_own_path_goes_before_the_packaged_source_until_it_is_removed(tmp_path: Path) -> None:
    packaged = registry.registry().file("m2dat-1c")
    own.add_file("m2dat-1c", str(write_hollow(tmp_path / "mine.ckpt", M2DTagger1ch)))
    file = registry.registry().system("baseline-1ch").parts["tagger"].file
    assert file.path == tmp_path / "mine.ckpt"
    assert (file.url, file.licence) == (packaged.url, packaged.licence)
    assert own.remove("m2dat-1c") == "file"
    assert registry.registry().file("m2dat-1c") == packaged


def test_an_own_path_has_another_hash() -> None:
    base, mine = tables(FILES), {"file": {"tagger": {"path": "/x.ckpt"}}}
    file = parse(registry.overlay(base, mine), Path()).file("tagger")
    assert (file.sha256, file.size_bytes, file.path) == (None, None, Path("/x.ckpt"))
    told = parse(registry.overlay(base, {"file": {"tagger": {"path": "/x.ckpt", "sha256": "CD" * 32}}}), Path())
    assert told.file("tagger").sha256 == "cd" * 32


def test_own_sections_are_added_used_and_removed(tmp_path: Path) -> None:
    text = """
    [system.mine]
    flow = "s5cli.systems.baseline:Baseline"
    summary = "with \\"quotes\\" and ümläute"
    source = "me"
    parts = { tagger = "tagger-1ch", separator = "mine.sep" }
    [part."mine.sep"]
    network = "s5cli.nn.resunet:ResUNetK"
    adapter = "s5cli.adapters.slots:SlotSeparator"
    config = { widths = [4, 4, 4, 4, 4, 4], mask = "share", n_fft = 512 }
    file = "mine.sep"
    [file."mine.sep"]
    source = "https://example.org/x.safetensors"
    licence = "cc-by-4.0"
    """
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    assert own.add_sections(tmp_path / "mine.toml") == [
        "file mine.sep: read when it is fetched first",
        "part mine.sep",
        "system mine",
    ]
    entry = registry.registry().system("mine")
    assert entry.summary == 'with "quotes" and ümläute'
    assert entry.parts["separator"].config == {"widths": [4, 4, 4, 4, 4, 4], "mask": "share", "n_fft": 512}
    with pytest.raises(WeightsError, match="unknown part"):
        own._save({"system": registry.read(registry.user_path())["system"]}, registry.user_path())
    with pytest.raises(UsageError, match="did you mean 'mine'"):
        own.remove("mien")
    assert [own.remove("mine"), own.remove("mine.sep"), own.remove("mine.sep")] == ["system", "part", "file"]
    assert registry.registry() == parse(registry.read(registry.packaged_path()), Path())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"knobs": {"gate": -math.inf}}, "knob 'gate' is -inf"),
        ({"knobs": {"drap": 1}}, "did you mean 'drop'"),
        ({"options": {"stages": 9}}, "stages"),
        ({"parts": {}}, "missing a required argument: 'tagger'"),
        ({"flow": "os:system"}, "'os:system' in weights.toml is no class"),
    ],
)
def test_a_system_that_cannot_run_is_not_added(changes: Table, expected: str, tmp_path: Path) -> None:
    content = tables({"tagger": {"source": "https://example.org/a.ckpt"}}, **changes)
    (tmp_path / "mine.toml").write_text(own.to_toml(content))
    with pytest.raises(S5Error, match=expected):
        own.add_sections(tmp_path / "mine.toml")
    assert not registry.user_path().exists()


def test_a_knob_may_be_infinite_where_its_range_is(tmp_path: Path) -> None:
    content = tables({"tagger": {"source": "https://example.org/a.ckpt"}}, knobs={"top": math.inf})
    (tmp_path / "mine.toml").write_text(own.to_toml(content))
    own.add_sections(tmp_path / "mine.toml")
    assert registry.registry().system("tiny").knobs == {"top": math.inf}


@pytest.mark.parametrize(
    "content", [b"", b"<html>log in</html>", b"RIFF$\0\0", b"root:x", b"(lp0\n.", b"\x80\x02e.", contents(200)]
)
def test_a_checkpoint_that_does_not_fit_is_not_added(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine.ckpt").write_bytes(content)
    said = r"mine\.ckpt (is damaged or not|does not hold the weights of BodyTagger)"
    with pytest.raises(WeightsError, match=said) as caught:
        own.add_file("tagger-1ch", str(tmp_path / "mine.ckpt"))
    assert not re.search("pop from|index out of|NoneType|unexpected keyword", str(caught.value))
    (tmp_path / "mine.toml").write_text(f'[file.tagger-1ch]\npath = "{tmp_path}/mine.ckpt"\nlicence = "cc-by-4.0"\n')
    with pytest.raises(WeightsError, match=r"mine\.ckpt"):
        own.add_sections(tmp_path / "mine.toml")
    assert not registry.user_path().exists()


def test_a_checkpoint_must_have_the_hash_that_was_given(tmp_path: Path) -> None:
    (tmp_path / "mine.ckpt").write_bytes(contents(200))
    sha256 = hashes.sha256_of(tmp_path / "mine.ckpt")
    with pytest.raises(WeightsError, match=f"its sha256 is {sha256}, not 0000"):
        own.add_file("mine", str(tmp_path / "mine.ckpt"), sha256="0" * 64)
    assert not registry.user_path().exists()
    said = own.add_file("mine", str(tmp_path / "mine.ckpt"), sha256=sha256.upper())
    assert said == f": no part uses it yet, 104 numbers in 1 tensors, 200 bytes, sha256 {sha256}"


def test_what_is_still_needed_is_not_removed(tmp_path: Path) -> None:
    own.add_file("extra", "hf://o/r/f.safetensors@v1")
    (tmp_path / "p.toml").write_text('[part.p]\nnetwork = "a:B"\nadapter = "a:C"\nfile = "extra"\n')
    own.add_sections(tmp_path / "p.toml")
    before = registry.user_path().read_text()
    with pytest.raises(WeightsError, match=r"\[part\.p\] names an unknown file 'extra'"):
        own.remove("extra")
    with pytest.raises(UsageError, match="packaged entries stay"):
        own.remove("m2dat-1c")
    assert registry.user_path().read_text() == before


@pytest.mark.parametrize("source", ["/no/such/file.ckpt", "gopher://x"])
def test_a_source_that_is_nothing_is_refused_and_nothing_is_written(source: str) -> None:
    with pytest.raises(WeightsError):
        own.add_file("mine", source)
    assert not registry.user_path().exists()


def test_sections_that_lead_nowhere_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text('[part.x]\nnetwork = "a:B"\nadapter = "a:C"\nfile = "nothing"\n')
    with pytest.raises(WeightsError, match=r"p\.toml: \[part\.x\]"):
        own.add_sections(tmp_path / "p.toml")
    with pytest.raises(WeightsError, match="is not a file"):
        own.add_sections(tmp_path / "q.toml")
    assert not registry.user_path().exists()


_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9._-]{0,8}", fullmatch=True), st.fixed_dictionaries({"x": _VALUES}), max_size=3
    )
)
def test_toml_written_is_toml_read(entries: dict[str, Table]) -> None:
    assert tomllib.loads(own.to_toml({"system": entries})) == ({"system": entries} if entries else {})


@given(st.text(st.sampled_from("ab./\\:"), max_size=8))
def test_a_path_inside_stays_inside(member: str) -> None:
    for separators in ("/", "\\"):
        steps = member.replace("\\" if separators == "/" else "/", separators).split(separators)
        outside = ".." in steps or member.startswith(("/", "\\")) or ":" in member
        assert not (is_inside(member) and outside)
