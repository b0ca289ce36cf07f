"""The command line: in go words, out come text or one JSON document, and an exit code. Heavy libraries load inside the commands.

Exit codes: 0 fine; 1 `curve` found a run below its band; 2 usage, input or configuration error (one sentence); 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click
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


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"vitscope {__version__}")
        raise typer.Exit


@app.callback()
def _app(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version and end."),
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
    except VitscopeError as error:
        if debug:
            raise
        fail(str(error))
        code = error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        typer.echo(error.ctx.get_help() if error.ctx else "")
        code = 0
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" See '{context.command_path} --help'." if context is not None else ""
        fail(f"{error.format_message()}{hint}")
        code = 2
    except (click.Abort, KeyboardInterrupt):
        fail("interrupted")
        code = 130
    except BrokenPipeError:  # the reader of our output (`| head`) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.stdout.flush()
    sys.exit(code if isinstance(code, int) else 0)
