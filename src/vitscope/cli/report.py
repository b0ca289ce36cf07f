"""`vitscope report`: runs in, one page about them out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vitscope._core.text import Text
from vitscope.cli.look import refuse_what_is_no_page
from vitscope.cli.options import DebugOption, JsonOption, LangOption, chosen
from vitscope.cli.screen import MEASURING, err, image_progress, print_json, tell_of_english_pictures


def report(
    run: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.", show_default=False)],
    page: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="PAGE.html",
            help="The page; report.html in the run, or here for several, if left out.",
            show_default=False,
        ),
    ] = None,
    json_: JsonOption = False,
    lang: LangOption = None,
    debug: DebugOption = False,
) -> None:
    """See `options.command_help`."""
    refuse_what_is_no_page(page)
    from vitscope._core.files import write_text
    from vitscope.report.judging.page import default_page, page_of
    from vitscope.report.judging.pairs import differences
    from vitscope.report.judging.seen import see

    language = chosen(lang)
    with image_progress(language, MEASURING) as progress:
        runs = see(run, progress)
    target = page if page is not None else default_page([each.path for each in runs])
    write_text(target, page_of(runs, language))
    if json_:
        pairs = differences([(each.name, each.predictions) for each in runs])
        found = {"runs": [each.to_dict() for each in runs], "differences": [pair.to_dict() for pair in pairs]}
        print_json({"page": str(target), **found})
        return
    wrote = Text("report: {page} (open it in a browser)", "レポート: {page}（ブラウザで開いてください）")
    err().print(wrote.format(page=target)[language])
    tell_of_english_pictures(language)
