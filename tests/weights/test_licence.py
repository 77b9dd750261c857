"""Licences: asked once, remembered, and never taken for granted."""

import os
import pty
import subprocess
import sys

import pytest

from s5cli.errors import WeightsError
from s5cli.weights import licence
from s5cli.weights.registry import Licence

STRICT = Licence("strict", "A strict licence", "https://example.org/strict", ask=True)


def test_a_free_licence_needs_nothing() -> None:
    licence.require(Licence("free", "a", "b"))
    assert not licence.memory_path().exists()


def test_without_a_terminal_the_message_says_how() -> None:
    with pytest.raises(WeightsError, match=r"https://example\.org/strict, then add --accept-licence"):
        licence.require(STRICT)
    assert licence.accepted() == {}


def test_an_answer_is_remembered_and_only_yes_is() -> None:
    asked: list[str] = []
    with pytest.raises(WeightsError, match="was not accepted"):
        licence.require(STRICT, ask=lambda question: bool(asked.append(question)))
    assert licence.accepted() == {}
    licence.require(STRICT, ask=lambda question: asked.append(question) is None)
    licence.require(STRICT)
    assert list(licence.accepted()) == ["strict"]
    assert len(asked) == 2
    assert STRICT.url in asked[0]


def test_the_flag_accepts_and_is_remembered() -> None:
    licence.require(STRICT, accept=True)
    licence.require(STRICT)


def test_a_damaged_memory_is_named() -> None:
    licence.memory_path().parent.mkdir(parents=True)
    for text in ("{", "[]", '{"a": 1}'):
        licence.memory_path().write_text(text)
        with pytest.raises(WeightsError, match=str(licence.memory_path())):
            licence.require(STRICT)


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize(("answer", "kept"), [("y", True), ("yes", True), ("n", False), ("", False)])
def test_a_terminal_is_asked(answer: str, kept: bool) -> None:
    code = (
        "from s5cli.weights.licence import *\nfrom s5cli.errors import *\n"
        "try: require(Licence('strict', 'A strict licence', 'https://example.org/strict', True))\n"
        "except WeightsError as error: print(error)"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.write(ours, f"{answer}\n".encode())
        said, _ = process.communicate(timeout=60)
    assert b"do you accept it? [y/N]" in os.read(ours, 4096)
    assert (list(licence.accepted()) == ["strict"]) == kept
    assert (said == b"") == kept
    os.close(ours)
    os.close(theirs)
