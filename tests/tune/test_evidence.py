"""Evidence on disk: whole or not at all, shared, and never taken for something else."""

import multiprocessing

import numpy as np
import pytest

from s5cli.errors import UsageError
from s5cli.tune.evidence import FILE, CachedResult, Store, result_key, waveform_name


def a_result(clip="clip", inputs=([15, 7, -1],), step="step", value=0.5):
    arrays = {"support": np.array([value, 0.25, 0.0]), "waveforms:waveforms": np.arange(3), "flag": np.array(True)}
    key = result_key(step, clip, inputs)
    return CachedResult(key, step, clip, inputs, arrays, np.full((3, 2), value), np.zeros((3, 2)))


def the_same(one, other):
    assert (one.key, one.step, one.clip, one.inputs) == (other.key, other.step, other.clip, other.inputs)
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name])
        assert (array.dtype, array.shape) == (other.arrays[name].dtype, other.arrays[name].shape)
    np.testing.assert_array_equal(one.sdr_db, other.sdr_db)


def test_what_is_kept_is_found_again(tmp_path):
    given = [
        a_result(),
        a_result(inputs=([15, -1, -1], [waveform_name("k", 0), waveform_name("k", 1)], "0a" * 32)),
        a_result(inputs=()),
    ]
    Store(tmp_path / "new" / "cache").add(given)
    found = {one.key: one for one in Store(tmp_path / "new" / "cache").results(["step"], ["clip"])}
    assert len(found) == 3
    for one in given:
        the_same(found[one.key], one)


def test_a_clip_without_references(tmp_path):
    bare = a_result()
    bare = CachedResult(bare.key, "step", "clip", bare.inputs, bare.arrays, np.zeros((3, 0)), np.zeros((3, 0)))
    Store(tmp_path).add([bare])
    [found] = Store(tmp_path).results(["step"], ["clip"])
    assert found.sdr_db.shape == (3, 0)


def test_only_these_steps_and_clips(tmp_path):
    store = Store(tmp_path)
    store.add([a_result(), a_result(clip="other"), a_result(step="elsewhere")])
    assert [(one.step, one.clip) for one in store.results(["step"], ["clip"])] == [("step", "clip")]
    assert len(store) == 3


def test_the_address_is_the_content():
    keys = {result_key(*about) for about in [("s", "c", ()), ("t", "c", ()), ("s", "d", ()), ("s", "c", ([1],))]}
    assert len(keys) == 4
    assert result_key("s", "c", ([1, 2],)) != result_key("s", "c", ([1], [2]))


def test_what_is_there_stays(tmp_path):
    store = Store(tmp_path)
    store.add([a_result(value=0.5)])
    store.add([a_result(value=0.75)])
    [found] = store.results(["step"], ["clip"])
    assert found.arrays["support"][0] == 0.5


def _add_many(folder, first):
    store = Store(folder)
    for number in range(first, first + 20):
        store.add([a_result(clip=f"clip{number}")])


def test_two_searches_write_at_once(tmp_path):
    spawn = multiprocessing.get_context("fork")
    both = [spawn.Process(target=_add_many, args=(tmp_path, first)) for first in (0, 10)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0]
    assert len(Store(tmp_path)) == 30


def test_a_damaged_file_is_said(tmp_path):
    (tmp_path / FILE).write_bytes(b"this is no database" * 100)
    with pytest.raises(UsageError, match=r"evidence\.sqlite: damaged"):
        Store(tmp_path)


def test_a_cache_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be written to"):
        Store(tmp_path / "file" / "cache")
