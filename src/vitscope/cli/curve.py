"""`vitscope curve`: runs in, a picture over the reference band and a verdict on each out; exit code 1 when a run is below."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitscope._core.text import Text
from vitscope.cli.options import DebugOption, JsonOption, LangOption, chosen
from vitscope.cli.screen import err, out, print_json, tell_of_english_pictures

if TYPE_CHECKING:
    from vitscope.curves import NamedRun, ReferenceCurve


def curve(
    run: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders, or CSV files of metrics.", show_default=False)
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="NAME",
            help="A reference curve's name or CSV file, or 'none'; by default the runs' own.",
            show_default=False,
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="PNG",
            help="Where the picture goes (an SVG lies beside it); by default curve.png in the run, or here for several.",
            show_default=False,
        ),
    ] = None,
    json_: JsonOption = False,
    lang: LangOption = None,
    debug: DebugOption = False,
) -> None:
    """See `options.command_help`."""
    from vitscope.curves import draw, judge, save

    language = chosen(lang)
    runs = [_read(path) for path in run]
    curve_to_follow = _reference(run, reference)
    verdicts = [judge(named.rows, curve_to_follow) for named in runs]
    if picture is None:
        picture = run[0] / "curve.png" if len(run) == 1 and run[0].is_dir() else Path("curve.png")
    save(draw(runs, curve_to_follow, language), picture, picture.with_suffix(".svg"))
    tell_of_english_pictures(language)
    if json_:
        parts = [{"run": str(path), **verdict.to_dict()} for path, verdict in zip(run, verdicts, strict=True)]
        print_json(
            {"reference": curve_to_follow.name if curve_to_follow else None, "picture": str(picture), "runs": parts}
        )
    else:
        for named, verdict in zip(runs, verdicts, strict=True):
            out().print(named.name, style="bold", markup=False)
            for finding in verdict.findings:
                out().print(f"  {finding.text[language]}", markup=False, soft_wrap=True)
        where = Text("picture: {png} and {svg}", "図: {png} と {svg}")
        err().print(where.format(png=picture, svg=picture.with_suffix(".svg"))[language], markup=False)
    if any(verdict.below for verdict in verdicts):
        raise typer.Exit(1)


def _read(path: Path) -> NamedRun:
    from vitscope.curves import NamedRun
    from vitscope.runs import RunFolder, read_metrics

    file = path if path.is_file() else RunFolder.open(path).metrics
    name = path.stem if path.is_file() and path.name != "metrics.csv" else file.resolve().parent.name
    return NamedRun(name, read_metrics(file))


def _reference(paths: list[Path], name: str | None) -> ReferenceCurve | None:
    """The reference asked for; else the first that a run's recipe names."""
    from vitscope.curves import load_reference
    from vitscope.recipes.run import reference_of_run
    from vitscope.runs import RunFolder

    if name == "none":
        return None
    if name is not None:
        return load_reference(name)
    own = (reference_of_run(RunFolder.open(path)) for path in paths if path.is_dir())
    return next((reference for reference in own if reference is not None), None)
