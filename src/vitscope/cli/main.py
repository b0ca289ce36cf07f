"""The command line: in go words, out come text or one JSON document, and an exit code. Heavy libraries load inside the commands.

Exit codes: 0 fine; 1 `curve` found a run below its band or diverged, `doctor` an error in a model; 2 usage, input or configuration error (one
sentence); 70 a bug; 130 interrupted. `--debug` adds a traceback and changes none of them.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from vitscope import __version__
from vitscope._core.errors import VitscopeError
from vitscope._core.raised import first_line
from vitscope._core.text import Text
from vitscope.cli import bench, compare, curve, doctor, explain, lists, look, measure, predict, report, train
from vitscope.cli.apart import end_apart, is_apart
from vitscope.cli.options import Command, asked_language, command_help
from vitscope.cli.screen import fail

app = typer.Typer(
    name="vitscope",
    help="Build, train and check Vision Transformers.\n\nVision Transformerの構築・学習・検証を行うツールです。",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
COMMANDS: dict[str, Callable[..., None]] = {
    "models": lists.models,
    "recipes": lists.recipes,
    "explain": explain.explain,
    "train": train.train,
    "eval": measure.evaluate,
    "predict": predict.predict,
    "curve": curve.curve,
    "look": look.look,
    "report": report.report,
    "doctor": doctor.doctor,
    "compare": compare.compare,
    "bench": bench.bench,
}
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF)
BUG = 70  # EX_SOFTWARE of sysexits.h; 1, which Python would end with, is a verdict on a run

# Typer brings its own click since 0.27 or uses the installed one: its public BadParameter leads to the errors of whichever it is.
_USAGE_ERROR = typer.BadParameter.__mro__[1]
_CLICK_ERROR: Any = _USAGE_ERROR.__mro__[1]


def _show_version(value: bool) -> bool:
    if value:
        typer.echo(f"vitscope {__version__}")
        raise typer.Exit
    return value


@app.callback()
def _app(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show the version and end."
    ),
) -> None:
    """Options that belong to no command."""


for _name, _function in COMMANDS.items():
    app.command(_name, cls=Command, help=command_help(_name))(_function)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and ends the process with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if sys.stdout is None:  # closed by whoever called
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  until the process ends
    with _sigterm_like_ctrl_c():
        code = _run(words, debug="--debug" in words)
    if is_apart():
        end_apart(code)
    sys.exit(code)


def _run(words: list[str], *, debug: bool) -> int:
    """The exit code; whatever went wrong has been said."""

    def ended(error: BaseException, sentence: str, code: int) -> int:
        if debug:
            traceback.print_exception(error)
        fail(sentence)
        return code

    try:
        code = app(args=words or ["--help"], prog_name="vitscope", standalone_mode=False, obj=words)
        sys.stdout.flush()
        if not words:
            return 2
        if code == 130:  # typer has made an exit code of Ctrl-C
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except VitscopeError as error:
        return ended(error, error.text[asked_language(words)], error.exit_code)
    except _CLICK_ERROR as error:
        context = getattr(error, "ctx", None)
        hint = f" (see '{context.command_path} --help')" if context is not None else ""
        sentence = error.format_message().replace("Value error, ", "")  # pydantic's words, where typer asks it
        return ended(error, f"{sentence}{hint}", 2)
    except (typer.Abort, KeyboardInterrupt) as error:
        return ended(error, Text("interrupted", "中断しました")[asked_language(words)], 130)
    except (BrokenPipeError, SystemExit) as error:
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        # the reader of our output (`| head`) has gone; typer makes a 1 of it, which is a verdict here
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if (
            isinstance(error, OSError) and error.filename is None and error.errno in _NO_ROOM
        ):  # files of ours say it themselves
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left for it is let go
            return ended(
                error, f"cannot write to standard output: {error.strerror}; free some space or send it elsewhere", 2
            )
        what = first_line(error)
        lines = "the lines above" if debug else "what the same command shows with --debug"
        return ended(
            error, f"unexpected {type(error).__name__} ({what}); this is a bug, please report it with {lines}", BUG
        )


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    """A command that is asked to end says so, as with Ctrl-C; the training loop has handlers of its own and puts this one back."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
