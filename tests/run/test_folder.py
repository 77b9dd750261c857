"""The manifest forgets nothing that was written whole, believes nothing torn, and mixes no two fingerprints."""

import json
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from s5cli.api import LoadedSystem
from s5cli.errors import InputError, OutputError, UsageError
from s5cli.run.content import Content, sha256_of
from s5cli.run.manifest import Fingerprint, Manifest, Record
from s5cli.run.plan import Options
from tests.toy import toy

SHA = "0123456789abcdef" * 4


def fingerprint(**changes: object) -> Fingerprint:
    weights = ({"part": "separator", "file": "s", "sha256": SHA, "licence": "own"},)
    return replace(Fingerprint.of(LoadedSystem("toy", toy(), "cpu", weights=weights), Options()), **changes)


def opened(folder: Path, restart: bool = False, **changes: object) -> Manifest:
    return Manifest(folder, fingerprint(**changes), {"device": "cpu"}, restart)


def record(clip: str) -> Record:
    return Record(
        clip, f"/data/{clip}.wav", SHA, {f"{clip}_0_Speech.wav": Content(100, SHA, SHA), f"{clip}.json": Content(10)}
    )


def write(manifest: Manifest, *clips: str) -> None:
    for clip in clips:
        manifest.write_begin(clip, record(clip).files)
        manifest.write_done(record(clip))


# --- fingerprint -----------------------------------------------------------------------------------------------------


def test_a_fingerprint_has_all_that_decides_results_and_nothing_that_does_not():
    made = fingerprint().to_json()
    assert made == {
        "system": "toy",
        "weights": {"separator": SHA},
        "knobs": {"share": 0.01, "gain": 1.0, "pause_s": 0.0},
        "options": {},
        "precision": "fp32",
        "engine": "torch",
        "window_s": 10.0,
        "labels": [],
        "channel_order": "acn",
        "resample": False,
        "subtype": "PCM_16",
    }
    other_circumstances = Fingerprint.of(LoadedSystem("toy", toy(), "cuda:1"), Options(batch_size=9, restart=True))
    assert other_circumstances.to_json() == made | {"weights": {}}


def test_it_survives_a_file():
    ours = fingerprint(labels=("Speech",), knobs={"gain": {"Speech": 1 / 3}})
    assert ours.differences(json.loads(json.dumps(ours.to_json()))) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"system": "other"}, "system 'other', not 'toy'"),
        ({"weights": {"separator": "f" * 64}}, "weights.separator ffffffff…, not 01234567…"),
        ({"knobs": {"share": 0.5, "gain": 1.0, "pause_s": 0.0}}, "knobs.share 0.5, not 0.01"),
        ({"options": {"stages": 2}}, "options.stages 2, not None"),
        ({"precision": "bf16"}, "precision 'bf16', not 'fp32'"),
        ({"engine": "onnx"}, "engine 'onnx', not 'torch'"),
        ({"compiled": True}, "compiled True, not None"),
        ({"window_s": None}, "window_s None, not 10.0"),
        ({"labels": ("Pour",)}, "labels ['Pour'], not []"),
        ({"channel_order": "fuma"}, "channel_order 'fuma', not 'acn'"),
        ({"resample": True}, "resample True, not False"),
        ({"subtype": "FLOAT"}, "subtype 'FLOAT', not 'PCM_16'"),
    ],
)
def test_what_differs_is_named_and_refused(tmp_path, changes, said):
    write(opened(tmp_path, **changes), "a")
    assert fingerprint().differences(fingerprint(**changes).to_json()) == [said]
    with pytest.raises(UsageError) as caught:
        opened(tmp_path)
    assert said in str(caught.value)
    assert "--restart" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_differences_are_counted(tmp_path):
    write(opened(tmp_path, system="x", engine="y", precision="z", resample=True, subtype="FLOAT"), "a")
    with pytest.raises(UsageError, match=r"\(and 2 more\); --restart"):
        opened(tmp_path)


# --- manifest --------------------------------------------------------------------------------------------------------


def test_what_is_done_is_known_to_the_next_call(tmp_path):
    write(opened(tmp_path), "a", "b")
    write(opened(tmp_path), "c")
    assert dict(opened(tmp_path).done) == {clip: record(clip) for clip in "abc"}


def test_nothing_is_written_before_the_first_clip(tmp_path):
    opened(tmp_path).sync()
    assert list(tmp_path.iterdir()) == []


def test_a_call_appends_and_never_rewrites(tmp_path):
    write(opened(tmp_path), "a")
    before = (tmp_path / "manifest.jsonl").read_bytes()
    write(opened(tmp_path, restart=True, system="other"), "b")
    assert (tmp_path / "manifest.jsonl").read_bytes().startswith(before)


def test_the_circumstances_of_every_call_are_recorded(tmp_path):
    write(opened(tmp_path), "a")
    Manifest(tmp_path, fingerprint(), {"device": "cuda:1"}, False).write_begin("b", [])
    lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert [line["about"]["device"] for line in lines if "run" in line] == ["cpu", "cuda:1"]


def test_a_restart_forgets_even_what_the_same_fingerprint_did(tmp_path):
    write(opened(tmp_path), "a", "b")
    again = opened(tmp_path, restart=True)
    assert dict(again.done) == {}
    write(again, "b")
    assert set(opened(tmp_path).done) == {"b"}


def test_results_of_an_earlier_fingerprint_do_not_come_back(tmp_path):
    write(opened(tmp_path), "a")
    write(opened(tmp_path, restart=True, system="other"), "b")
    write(opened(tmp_path, restart=True), "c")
    assert set(opened(tmp_path).done) == {"c"}


def test_a_clip_that_is_being_written_again_is_not_done(tmp_path):
    manifest = opened(tmp_path)
    write(manifest, "a")
    manifest.write_begin("a", record("a").files)
    assert dict(opened(tmp_path).done) == {}


def test_half_a_clip_is_what_has_no_json(tmp_path):
    manifest = opened(tmp_path)
    write(manifest, "a")
    manifest.write_begin("b", record("b").files)
    assert list(opened(tmp_path).halves) == [tmp_path / "b_0_Speech.wav", tmp_path / "b.json"]
    (tmp_path / "b.json").touch()
    assert list(opened(tmp_path).halves) == []


def test_halves_never_lie_outside_the_folder(tmp_path):
    outside = ["../../etc/passwd", "/etc/hosts", "stages/../b.wav", "other/uss/b.wav", "stages/b.wav"]
    opened(tmp_path).write_begin("b", [*outside, "stages/uss/b_0_Speech.wav"])
    assert list(opened(tmp_path).halves) == [tmp_path / "stages" / "uss" / "b_0_Speech.wav"]


def test_torn_at_every_byte(tmp_path):
    """What was written whole is known, what was torn is not, and the next call goes on cleanly behind it."""
    whole = tmp_path / "whole"
    whole.mkdir()
    write(opened(whole), "a", "é")
    content = (whole / "manifest.jsonl").read_bytes()
    for n_bytes in range(len(content)):
        folder = tmp_path / str(n_bytes)
        folder.mkdir()
        (folder / "manifest.jsonl").write_bytes(content[:n_bytes])
        n_lines = content[:n_bytes].count(b"\n")
        torn = opened(folder)
        assert list(torn.done) == ["a", "é"][: (n_lines - 1) // 2 if n_lines else 0]
        write(torn, "c")
        assert set(opened(folder).done) == {*torn.done, "c"}
        assert all(json.loads(line) for line in (folder / "manifest.jsonl").read_bytes().splitlines())


def test_a_line_that_a_disk_damaged_costs_its_clip_alone(tmp_path):
    write(opened(tmp_path), "a", "b", "c")
    path = tmp_path / "manifest.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[4] = bytes(len(lines[4]) - 1) + b"\n"  # b is done
    path.write_bytes(b"".join(lines))
    assert set(opened(tmp_path).done) == {"a", "c"}


def test_unwritable(tmp_path):
    (tmp_path / "out").mkdir()
    manifest = opened(tmp_path / "out")
    (tmp_path / "out").rmdir()
    with pytest.raises(OutputError, match=r"manifest\.jsonl: cannot be written"):
        manifest.write_begin("a", [])


def test_unreadable(tmp_path):
    (tmp_path / "manifest.jsonl").mkdir()
    with pytest.raises(UsageError, match=r"manifest\.jsonl: cannot be read"):
        opened(tmp_path)


# --- records ---------------------------------------------------------------------------------------------------------


def test_a_record_holds_while_its_files_and_the_recording_are_what_they_were(tmp_path):
    recording, stem = tmp_path / "a.wav", tmp_path / "a_0_Speech.wav"
    recording.write_bytes(b"sound")
    stem.write_bytes(b"stem")
    made = Record("a", str(recording), sha256_of(recording), {stem.name: Content.of(stem)})
    assert made.holds(tmp_path, recording)
    for other in (b"ste", bytes(4), b"stems"):
        stem.write_bytes(other)
        assert not made.holds(tmp_path, recording)
    stem.write_bytes(b"ste")
    assert not made.holds(tmp_path, recording)
    stem.unlink()
    assert not made.holds(tmp_path, recording)
    stem.write_bytes(b"stem")
    recording.write_bytes(b"Sound")
    assert not made.holds(tmp_path, recording)
    recording.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        made.holds(tmp_path, recording)


@pytest.mark.parametrize("n_bytes", [0, 1, 4096, 70_000, 3_000_000])
def test_content_survives_a_manifest_and_zeros_of_equal_length_do_not_pass(tmp_path, n_bytes):
    path = tmp_path / "a.wav"
    path.write_bytes(random.Random(n_bytes).randbytes(n_bytes))
    found = Content.read(json.loads(json.dumps(Content.of(path).to_json())))
    assert found.holds(path, verify=False)
    assert found.holds(path, verify=True)
    path.write_bytes(bytes(n_bytes))
    assert found.holds(path, verify=False) == found.holds(path, verify=True) == (n_bytes == 0)


def test_one_changed_byte_is_found_where_all_is_compared(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(bytes(1_000_000))
    found = Content.of(path)
    with path.open("r+b") as file:
        file.seek(100_000)
        file.write(b"x")
    assert not found.holds(path, verify=True)
    assert found.holds(path, verify=False), "between two sampled blocks"


def test_sizes_alone_are_believed_of_manifests_that_tell_no_more(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"stem")
    assert Content.read(4).holds(path, verify=False)
    assert not Content.read(4).holds(path, verify=True)
    assert not Content.read(5).holds(path, verify=False)


def test_a_pipe_is_no_file_of_ours(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert not Content(0, SHA, SHA).holds(tmp_path / "pipe", verify=True)
    assert not Content(0, SHA, SHA).holds(Path("/dev/zero"), verify=True)


HOSTILE = {
    "deep": b"[" * 100_000,
    "deep in its fingerprint": b'{"run": {"system": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b'}, "restart": false}',
    "a number of 400 digits": b'{"clip": "a", "input": {"file": "a", "sha256": ""}, "files": {"a": 1'
    + b"0" * 400
    + b"}}",
    "numbers where names should be": b'{"writing": "a", "files": [1, null, ["x"], "\\u0000", ""]}',
    "words where a size should be": b'{"clip": "a", "input": {"file": "a", "sha256": ""}, "files": {"a": "many"}}',
    "a name that is none": b'{"clip": "a", "input": {"file": "a", "sha256": ""}, "files": {"\\u0000": 1}}',
    "no text": b"\xff\xfe",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_manifest_that_was_made_to_harm_costs_nothing_but_itself(tmp_path, kind):
    (tmp_path / "manifest.jsonl").write_bytes(HOSTILE[kind] + b"\n")
    if "fingerprint" in kind:
        with pytest.raises(UsageError, match="--restart"):
            opened(tmp_path)
    manifest = opened(tmp_path, restart="fingerprint" in kind)
    assert list(manifest.halves) == []
    assert not any(record.holds(tmp_path, Path(__file__)) for record in manifest.done.values())


def test_sha256():
    import hashlib

    assert sha256_of(Path(__file__)) == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
