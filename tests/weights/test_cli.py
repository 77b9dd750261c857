"""`s5 weights` and `s5 download` as processes: what a script and a person get to see."""

import hashlib
import io
import json
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from s5cli.cli import exit_code
from s5cli.nn.m2d import M2DTagger1ch
from s5cli.nn.resunet import ResUNetK
from s5cli.weights import registry
from tests import forked
from tests.weights.server import Server
from tests.weights.tiny import contents, write_hollow

CONTENT = contents(2000)


def s5(*args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    process = forked.run(args)
    assert process.returncode == code, process.stderr
    assert "Traceback" not in process.stderr
    return process


def sections(source: str, **keys: str) -> str:
    extra = "".join(f'{key} = "{value}"\n' for key, value in keys.items())
    return f"""
[licence.strict]
title = "A strict licence"
url = "https://example.org/strict"
ask = true
[file.mine]
source = "{source}"
licence = "strict"
{extra}
[part.mine]
network = "s5cli.nn.resunet:ResUNetK"
adapter = "s5cli.adapters.slots:SlotSeparator"
file = "mine"
[system.mine]
flow = "s5cli.systems.baseline:Baseline"
summary = "mine"
source = "me"
parts = {{ tagger = "mine", separator = "mine" }}
"""


def test_the_list_for_programs_and_for_people() -> None:
    listed = json.loads(s5("weights", "list", "--json").stdout)
    known = registry.registry()
    assert {row["system"] for row in listed["systems"]} == set(known.systems)
    status = {row["system"]: row["status"] for row in listed["systems"]}
    assert status["tagging-driven-0"] == "missing"
    assert {status[f"tagging-driven-{n}"] for n in (1, 2, 3)} == {"needs training"}
    files = {row["file"]: row for row in listed["files"]}
    assert set(files) == set(known.files)
    assert files["resunetk"]["licence"] == "ntt-evaluation"
    assert files["resunetk-b"]["systems"] == ["tagging-driven-3"]
    shown = s5("weights", "list").stdout
    assert all(name in shown for name in [*known.systems, *known.files])


def test_a_dry_run_prints_and_touches_nothing(home: Path) -> None:
    (planned,) = json.loads(s5("download", "tagging-driven-0", "--dry-run", "--json").stdout)
    assert planned["url"].endswith("/baseline_checkpoint.zip")
    assert planned["files"] == ["m2dat-1c", "m2dat-4c", "resunetk"]
    shown = s5("download", "tagging-driven-0", "--dry-run").stdout
    assert planned["url"] in shown
    assert "unknown size" in shown
    assert planned["licence"] in shown
    assert not home.exists()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("download taging-driven-0", "did you mean"),
        ("download baseline-1ch", "--accept-licence"),
        ("download baseline-1ch --offline", "offline"),
        ("download baseline-1ch --file resunetk", "NAME=PATH"),
        ("download baseline-1ch --file resunetk=/no/such", "/no/such"),
        ("weights path resunetk", "not on this machine"),
        ("weights path resunet", "did you mean 'resunetk'"),
        ("weights verify resunet", "did you mean 'resunetk'"),
        ("weights add mine", "source"),
        ("weights add resunetk /no/such.zip", "is not a file"),
        ("weights remove resunetk", "packaged entries stay"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(line: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(line.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert expected in said.err
    assert said.err.count("\n") == 1


def test_from_adding_to_removing(server: Server, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("release/a.ckpt", CONTENT)
    url = server.put("/x.zip", buffer.getvalue())
    (tmp_path / "mine.toml").write_text(sections(url, member="a.ckpt"))
    assert "added system mine" in s5("weights", "add", str(tmp_path / "mine.toml")).stdout
    assert "--accept-licence" in s5("download", "mine", code=2).stderr
    done = s5("download", "mine", "--accept-licence", "--json")
    (row,) = [row for row in json.loads(done.stdout) if row["file"] == "mine"]
    assert (row["status"], row["size_bytes"], row["sha256"]) == ("present", 2000, hashlib.sha256(CONTENT).hexdigest())
    assert "100%" in done.stderr
    assert s5("weights", "path", "mine").stdout.strip() == row["path"]
    assert json.loads(s5("weights", "path", "mine", "--json").stdout) == {"name": "mine", "path": row["path"]}
    assert json.loads(s5("weights", "verify", "mine", "--json").stdout)[0]["status"] == "ok"
    Path(row["path"]).write_bytes(b"x")
    assert json.loads(s5("weights", "verify", "--json", code=1).stdout)
    assert "changed" in s5("weights", "verify", "mine", code=1).stdout
    s5("weights", "remove", "mine")
    assert "mine" not in json.loads(s5("weights", "list", "--json").stdout)["systems"]


def test_a_file_in_place_of_a_download(tmp_path: Path) -> None:
    tagger = write_hollow(tmp_path / "tagger.ckpt", M2DTagger1ch)
    separator = write_hollow(tmp_path / "separator.ckpt", ResUNetK)
    said = s5("weights", "add", "m2dat-1c", str(tagger)).stdout
    assert re.fullmatch(
        r"added file m2dat-1c: M2DFrames, M2DTagger1ch, [\d,]+ numbers in 179 tensors, .*, sha256 \w{64}\n", said
    )
    said = s5("download", "baseline-1ch", "--offline", "--file", f"resunetk={separator}").stdout
    assert said.count("present") == 2
    assert s5("weights", "path", "resunetk").stdout.strip() == str(separator)
    assert (
        "does not hold the weights of M2DTagger1ch" in s5("weights", "add", "m2dat-1c", str(separator), code=2).stderr
    )
    assert s5("weights", "path", "m2dat-1c").stdout.strip() == str(tagger)


def test_embedded_files_are_verified() -> None:
    rows = {row["file"]: row["status"] for row in json.loads(s5("weights", "verify", "--json").stdout)}
    assert {rows[name] for name in ("tagger-1ch", "tagger-4ch", "tagger-4ch-zero", "separator-a", "separator-b")} == {
        "ok"
    }


def test_what_is_no_checkpoint_is_not_added(tmp_path: Path) -> None:
    (tmp_path / "page.ckpt").write_bytes(b"<html>please log in</html>")
    said = s5("weights", "add", "resunetk", str(tmp_path / "page.ckpt"), code=2).stderr
    assert "page.ckpt is damaged or not a checkpoint (it is more or something else than tensors); give another" in said
    assert "sha256" in s5("weights", "add", "mine", "http://example.org/a.ckpt", code=2).stderr
    assert not registry.user_path().exists()


def test_what_needs_training_is_told_beside_what_was_fetched(tmp_path: Path) -> None:
    networks = {"m2dat-1c": M2DTagger1ch, "resunetk": ResUNetK}
    given = [f"--file={name}={write_hollow(tmp_path / name, network)}" for name, network in networks.items()]
    said = s5("download", "tagging-driven-3", "--offline", *given)
    assert said.stdout.count("needs training") == 2
    assert "`s5 train zero_target_head " in said.stderr
    assert "`s5 train separator_b " in said.stderr


@pytest.mark.parametrize("command", ["list", "verify", "path", "add", "remove"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["weights", command, "--help"]) == 0
    assert f"weights {command}" in capsys.readouterr().out
