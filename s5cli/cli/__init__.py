"""The command `s5`. One place turns errors into a line on stderr and an exit code; commands import what they need."""

import io
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, TextIO, cast

import typer

from s5cli import __version__
from s5cli.cli import (
    compare,
    doctor,
    download,
    evaluate,
    export,
    grouped,
    package,
    report,
    separate,
    stream,
    study,
    synth,
    systems,
    train,
    tune,
    validate,
    weights,
)
from s5cli.errors import ClipsFailedError, S5Error, UsageError, printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

BROKEN_PIPE = 141  # as the shell reports a program that SIGPIPE ended; Windows has no such signal
STDOUT = "standard output"

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would double the time of `s5 --help`
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"s5cli {__version__}", flush=True)
        raise typer.Exit


@app.callback()
def s5(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = (
        False
    ),
) -> None:
    """Labelled, separated stems from 4-channel recordings of sound scenes (DCASE Task 4)."""


app.command(cls=grouped.GroupedCommand, epilog=separate.EXAMPLES)(separate.separate)
app.command()(stream.stream)
app.command()(evaluate.evaluate)
app.command()(compare.compare)
app.command()(report.report)
app.command()(package.package)
app.command()(validate.validate)
app.command()(systems.systems)
app.command()(download.download)
app.command()(export.export)
app.add_typer(weights.app, name="weights")
app.command()(synth.synth)
app.command()(train.train)
app.command()(tune.tune)
app.add_typer(study.app, name="study")
app.command()(doctor.doctor)


class Stopped(SystemExit):
    """SIGINT, SIGTERM or SIGHUP, unwinding so that nothing stays half-written.

    Not KeyboardInterrupt: where that passes through `exec`, as in an import, the interpreter remembers it as unhandled
    and ends as if killed, whatever exit code it is given.
    """


class _Stdout(io.FileIO):
    """Standard output, whose errors name it."""

    def write(self, content: "ReadableBuffer", /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            raise OSError(error.errno, error.strerror, STDOUT) from error


class _Stderr(io.FileIO):
    """Standard error. What cannot be told any more, as in a log on a full disk, ends no work."""

    def write(self, content: "ReadableBuffer", /) -> int:
        try:
            return super().write(content)
        except OSError:
            return memoryview(content).nbytes


def _in_place_of(console: TextIO, kind: type[io.FileIO]) -> TextIO:
    if not isinstance(console, io.TextIOWrapper) or os.name != "posix":  # a console of Windows is no such file
        return console
    raw, at_once = kind(console.fileno(), "w", closefd=False), console.line_buffering or console.write_through
    return io.TextIOWrapper(io.BufferedWriter(raw), console.encoding, line_buffering=at_once)


def main() -> int:
    """What `s5` does once its modules are there, and its exit code; `s5cli.__main__` is the entry point."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, _stop)
    sys.unraisablehook = _raise_again
    sys.stdout, sys.stderr = _in_place_of(sys.stdout, _Stdout), _in_place_of(sys.stderr, _Stderr)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it is closed: nothing else may take its number, and be printed into
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
    for console in (sys.stdout, sys.stderr):
        if isinstance(console, io.TextIOWrapper):
            console.reconfigure(errors="backslashreplace")  # for what its encoding lacks, and names not in UTF-8
    return exit_code(sys.argv[1:])


def exit_code(args: Sequence[str]) -> int:
    """Runs one command line, says what went wrong, and returns the exit code. A bug shows its traceback."""
    try:
        command = cast(typer.core.TyperGroup, typer.main.get_command(app))
        command._main_shell_completion({}, "s5")  # the shell asks, through the environment
        _check_folder()
        with command.make_context("s5", list(args)) as context:
            command.invoke(context)
        sys.stdout.flush()
    except ClipsFailedError as error:
        return _failed(str(error), error.exit_code, keep="\n")  # a line each
    except S5Error as error:
        return _failed(str(error), error.exit_code)
    except typer.TyperException as error:
        told = error.format_message().replace("Value error, ", "").replace(": Input should", ": it should")
        return _failed(told, error.exit_code, keep="\n")
    except typer.Exit as done:
        return done.exit_code
    except typer.Abort:  # no answer to a question
        return _failed("aborted", 1)
    except Stopped as stopped:
        return _failed("; ".join(["interrupted", *getattr(stopped, "__notes__", ())]), int(str(stopped.code)))
    except BrokenPipeError:
        _drop_stdout()
        return BROKEN_PIPE
    except OSError as error:  # the world's fault, whoever did not expect it
        if error.filename == STDOUT:
            _drop_stdout()
        return _failed(f"{error.filename or 'reading or writing failed'}: {error.strerror or error}", 1)
    return 0


def _check_folder() -> None:
    """UsageError where the current folder was removed, of which libraries would complain in their own ways."""
    try:
        Path.cwd()
    except OSError as error:
        raise UsageError("the current folder is not there any more; change to another one") from error


def _drop_stdout() -> None:
    """Nothing more can be printed, of which the interpreter would complain when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(message: str, code: int, keep: str = "") -> int:
    is_help = message.startswith("Usage: ")  # what Typer answers to a group without a command
    print(message if is_help else f"error: {printable(message, keep)}", file=sys.stderr)
    return code


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(128 + number)


def _raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """A signal may be answered where an exception goes nowhere, as in a destructor; then it is sent once more."""
    if isinstance(unraisable.exc_value, Stopped):
        number = int(str(unraisable.exc_value.code)) - 128
        threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
    else:
        sys.__unraisablehook__(unraisable)
