"""Fusion of one clip, written for readers: what the vectorised rules must agree with."""

from dataclasses import dataclass

N_SLOTS = 3


@dataclass(frozen=True)
class Word:
    """One track's proposal."""

    label: int
    p: float
    track: int


@dataclass(frozen=True)
class Query:
    label: int
    confidence: float
    p_4ch: float
    track: int


def words(tracks):
    """The best non-silence class of every track: tracks are 19 probabilities each."""
    found = []
    for track, probabilities in enumerate(tracks):
        best = max(range(18), key=lambda k: (probabilities[k], -k))
        found.append(Word(best, probabilities[best], track))
    return found


def fuse_clip(tracks_4ch, tracks_1ch, w4, solo_4ch, solo_1ch):
    """The queries of one clip, most confident first."""
    queries = []
    said_4ch, said_1ch = words(tracks_4ch), words(tracks_1ch)
    for label in {word.label for word in said_4ch + said_1ch}:
        ours = sorted((w for w in said_4ch if w.label == label), key=lambda w: (-w.p, w.track))
        theirs = sorted((w for w in said_1ch if w.label == label), key=lambda w: (-w.p, w.track))
        n = min(len(ours), len(theirs))
        for one, other in zip(ours[:n], theirs[:n], strict=True):
            queries.append(Query(label, w4 * one.p + (1 - w4) * other.p, one.p, one.track))
        queries += [Query(label, w.p, w.p, w.track) for w in ours[n:] if w.p >= solo_4ch]
        queries += [Query(label, w.p, 0.0, w.track) for w in theirs[n:] if w.p >= solo_1ch]
    queries.sort(key=lambda q: (-q.confidence, -q.p_4ch, q.label, q.track))
    return queries[:N_SLOTS]
