"""`vitscope compare`: two ViTs in; what differs, which learns better under the same conditions, and why, out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitscope._core.text import Text
from vitscope.cli.apart import (
    is_apart,
    keep_within_limits,
    no_interrupt_of_theirs,
    refuse_no_time,
    run_apart,
    tell_who_is_at_work,
)
from vitscope.cli.compare_screen import race_progress, say, show
from vitscope.cli.look import output_and_folder_stay_ours, refuse_what_is_no_page
from vitscope.cli.options import (
    CommandContext,
    DebugOption,
    JsonOption,
    LangOption,
    PageOption,
    SourceOption,
    TimeLimitOption,
    chosen,
)
from vitscope.cli.screen import err, print_json

if TYPE_CHECKING:
    from torch import nn

    from vitscope._core.text import Lang
    from vitscope.race.comparison import Comparison
    from vitscope.race.entrants import Entrant
    from vitscope.race.targets import Wanted

OPENING, SHARE = 120.0, 0.05
"""Seconds that one model may take to be opened and tried, or that share of the time limit where that is longer."""
TARGET_HELP = "A built-in name, a YAML file, a run folder (fresh weights), or package.module:callable."


def compare(
    ctx: CommandContext,
    a: Annotated[str, typer.Argument(metavar="A", help=TARGET_HELP, show_default=False)],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one.", show_default=False)],
    data: SourceOption = None,
    duration: Annotated[
        str | None,
        typer.Option("--duration", metavar="LENGTH", help="Of each training: 150st or 5ep.", show_default=False),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            "--seeds",
            metavar="N",
            help="Trainings of each, at most; 3 by default. From 6 on a clear race ends early.",
            show_default=False,
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option("--image-size", metavar="S", help="Side of the images that code takes.", show_default=False),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option("--channels", metavar="C", help="Channels of the images that code takes.", show_default=False),
    ] = None,
    kwargs_a: Annotated[
        str | None,
        typer.Option("--kwargs-a", metavar="JSON", help="Arguments for A's callable.", show_default=False),
    ] = None,
    kwargs_b: Annotated[
        str | None,
        typer.Option("--kwargs-b", metavar="JSON", help="Arguments for B's callable.", show_default=False),
    ] = None,
    page: PageOption = None,
    time_limit: TimeLimitOption = 3600.0,
    json_: JsonOption = False,
    lang: LangOption = None,
    debug: DebugOption = False,
) -> None:
    """See `options.command_help`."""
    from vitscope.recipes.code import parse_kwargs
    from vitscope.recipes.naming import kind_of

    refuse_what_is_no_page(page, option="--html")
    refuse_no_time(time_limit)
    given = (parse_kwargs(kwargs_a, "--kwargs-a"), parse_kwargs(kwargs_b, "--kwargs-b"))
    if "code" in (kind_of(a), kind_of(b)) and not is_apart():
        both = Text(f"the comparison of {a} and {b}", f"{a}と{b}の比較")
        opening = max(OPENING, SHARE * time_limit)
        raise typer.Exit(run_apart(ctx.obj, what=both, seconds=time_limit, opening=opening, lang=chosen(lang)))
    if is_apart():
        keep_within_limits()
    from vitscope.race.targets import Wanted

    wanted = Wanted(given, image_size, channels, data, duration, seeds)
    limit = time_limit if is_apart() else None
    _compare(a, b, wanted, page, limit, is_json=json_, lang=chosen(lang))


def _compare(
    a: str, b: str, wanted: Wanted, page: Path | None, limit: float | None, *, is_json: bool, lang: Lang
) -> None:
    """Compares, shows, and ends with 1 where something is an error."""
    from vitscope._core.files import write_text
    from vitscope.report.comparing.page import page_of

    with no_interrupt_of_theirs(f"{a} or {b}"), output_and_folder_stay_ours():
        found = _found(a, b, wanted, limit, lang)
    if is_json:
        print_json({**found.to_dict(lang), "page": str(page) if page else None})
    else:
        show(found, lang)
    if page is not None:
        write_text(page, page_of(found, lang))
        err().print(Text(f"wrote {page}", f"{page} を書き出しました")[lang])
    if not found.healthy:
        raise typer.Exit(1)


def _found(a: str, b: str, wanted: Wanted, limit: float | None, lang: Lang) -> Comparison:
    """Opens both, says what the race will take, and compares them."""
    from vitscope.race.budget import budget_of
    from vitscope.race.comparing import compared
    from vitscope.race.targets import open_course, open_pair, refuse_other_classes

    def opening(who: str) -> None:
        tell_who_is_at_work(who, is_opened=True)

    pair = open_pair(a, b, wanted, opening)
    course, fitted = open_course(pair, wanted)
    refuse_other_classes(pair, course)
    notes = (*pair.notes, fitted)
    for note in notes:
        say(note, lang)
    say(budget_of((pair.one, pair.other), course, limit, opening), lang)
    with race_progress(lang) as progress:
        telling = replace(pair, one=_telling(pair.one), other=_telling(pair.other))
        return compared(telling, course, notes=notes, progress=progress)


def _telling(entrant: Entrant) -> Entrant:
    """The same, which tells who is at work each time that it is made: for its examination and for each training."""

    def make() -> nn.Module:
        tell_who_is_at_work(entrant.name, is_opened=False)
        return entrant.make()

    return replace(entrant, make=make)
