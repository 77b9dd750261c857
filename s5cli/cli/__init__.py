"""The command `s5`. One place turns errors into a line on stderr and an exit code; commands import what they need."""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Annotated

import typer

from s5cli import __version__
from s5cli.cli import (
    compare,
    doctor,
    download,
    evaluate,
    package,
    report,
    separate,
    study,
    synth,
    systems,
    train,
    tune,
    validate,
    weights,
)
from s5cli.errors import S5Error

BROKEN_PIPE = 141  # as the shell reports a program that SIGPIPE ended; Windows has no such signal

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would double the time of `s5 --help`
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"s5cli {__version__}")
        raise typer.Exit


@app.callback()
def s5(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = (
        False
    ),
) -> None:
    """Labelled, separated stems from 4-channel recordings of sound scenes (DCASE Task 4)."""


app.command()(separate.separate)
app.command()(evaluate.evaluate)
app.command()(compare.compare)
app.command()(report.report)
app.command()(package.package)
app.command()(validate.validate)
app.command()(systems.systems)
app.command()(download.download)
app.add_typer(weights.app, name="weights")
app.command()(synth.synth)
app.command()(train.train)
app.command()(tune.tune)
app.add_typer(study.app, name="study")
app.command()(doctor.doctor)


class Stopped(SystemExit):
    """SIGINT or SIGTERM, unwinding so that nothing stays half-written.

    Not KeyboardInterrupt: where that passes through `exec`, as in an import, the interpreter remembers it as unhandled
    and ends as if killed, whatever exit code it is given.
    """


def main() -> None:
    """Entry point of the command."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    sys.exit(exit_code(sys.argv[1:]))


def exit_code(args: Sequence[str]) -> int:
    """Runs one command line, says what went wrong, and returns the exit code. A bug shows its traceback."""
    try:
        command = typer.main.get_command(app)
        with command.make_context("s5", list(args)) as context:
            command.invoke(context)
        sys.stdout.flush()
    except S5Error as error:
        return _failed(str(error), error.exit_code)
    except typer.TyperException as error:
        return _failed(error.format_message(), error.exit_code)
    except typer.Exit as done:
        return done.exit_code
    except typer.Abort:  # no answer to a question
        return _failed("aborted", 1)
    except Stopped as stopped:
        return _failed("interrupted", int(str(stopped.code)))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains when it ends
        return BROKEN_PIPE
    return 0


def _failed(message: str, code: int) -> int:
    is_help = message.startswith("Usage: ")  # what Typer answers to a group without a command
    print(message if is_help else f"error: {message}", file=sys.stderr)
    return code


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(128 + number)
