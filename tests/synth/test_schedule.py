from hypothesis import given
from hypothesis import strategies as st

from s5cli.synth.schedule import allowed_starts

spans = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 15)).map(lambda s: (s[0], s[0] + s[1])), max_size=6)


@given(spans, st.integers(1, 20), st.integers(10, 45), st.integers(1, 3))
def test_allowed_starts_are_those_that_trying_every_start_finds(
    spans: list[tuple[int, int]], length: int, n_samples: int, max_overlap: int
) -> None:
    spans = [(begin, min(end, n_samples)) for begin, end in spans if begin < n_samples]
    active = [sum(begin <= sample < end for begin, end in spans) for sample in range(n_samples)]
    wanted = [start for start in range(n_samples - length + 1) if max(active[start : start + length]) < max_overlap]
    found = [
        start for begin, end in allowed_starts(spans, length, n_samples, max_overlap) for start in range(begin, end)
    ]
    assert found == wanted
