"""The command line: in go words, out come text or one JSON document, and an exit code. Heavy libraries load inside the commands.

Exit codes: 0 fine; 1 `curve` found a run below its band; 2 usage, input or configuration error (one sentence); 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from vitscope import __version__
from vitscope._core.errors import VitscopeError
from vitscope.cli import curve, explain, lists, measure, predict, train
from vitscope.cli.options import command_help
from vitscope.cli.screen import fail

app = typer.Typer(
    name="vitscope",
    help="Build, train and check Vision Transformers.\n\nビジョントランスフォーマーを組み立て、学習し、確かめる道具です。",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


# Typer brings its own click since 0.27 or uses the installed one: its public BadParameter leads to the errors of whichever it is.
_USAGE_ERROR = typer.BadParameter.__mro__[1]
_CLICK_ERROR: Any = _USAGE_ERROR.__mro__[1]
_NO_ARGUMENTS: Any = getattr(sys.modules[_USAGE_ERROR.__module__], "NoArgsIsHelpError", ())


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


app.command("models", help=command_help("models"))(lists.models)
app.command("recipes", help=command_help("recipes"))(lists.recipes)
app.command("explain", help=command_help("explain"))(explain.explain)
app.command("train", help=command_help("train"))(train.train)
app.command("eval", help=command_help("eval"))(measure.evaluate)
app.command("predict", help=command_help("predict"))(predict.predict)
app.command("curve", help=command_help("curve"))(curve.curve)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and ends the process with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        code = app(args=words, standalone_mode=False)
        if code == 130:  # typer has made an exit code of Ctrl-C
            raise KeyboardInterrupt
    except VitscopeError as error:
        if debug:
            raise
        fail(str(error))
        code = error.exit_code
    except _NO_ARGUMENTS:  # the help is on the screen already
        code = 2
    except _CLICK_ERROR as error:
        context = getattr(error, "ctx", None)
        hint = f" (see '{context.command_path} --help')" if context is not None else ""
        fail(f"{error.format_message()}{hint}")
        code = 2
    except (typer.Abort, KeyboardInterrupt):
        fail("interrupted")
        code = 130
    except BrokenPipeError:  # the reader of our output (`| head`) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.stdout.flush()
    sys.exit(code if isinstance(code, int) else 0)
