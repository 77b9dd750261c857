"""What a run leaves, to be compared with what another one left."""

from pathlib import Path

ABOUT_THE_RUN = {"run.json", "manifest.jsonl"}


def contents(out: Path) -> dict[str, bytes]:
    """Every file but those about the run, which differ by times and places."""
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name not in ABOUT_THE_RUN}
