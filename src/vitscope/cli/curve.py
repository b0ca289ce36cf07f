"""`vitscope curve`: runs in, a picture over the reference band and a verdict on each out; exit code 1 when a run is below or diverged.

Each run is held against the reference of its own recipe, unless one is named for all.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitscope._core.errors import RunError, UsageError
from vitscope._core.text import Lang, Text
from vitscope.cli.options import DebugOption, JsonOption, LangOption, chosen
from vitscope.cli.screen import err, out, print_json, tell_of_english_pictures

if TYPE_CHECKING:
    from vitscope.curves import NamedRun, ReferenceCurve, Verdict


def curve(
    run: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders, or CSV files of metrics.", show_default=False)
    ],
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="NAME",
            help="A reference curve (vit_patch4_cifar10_200ep), a CSV file, or none; by default each run's own.",
            show_default=False,
        ),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="PICTURE",
            help="A file (.png and .svg are both written) or a folder; by default in the run, or here for several.",
            show_default=False,
        ),
    ] = None,
    json_: JsonOption = False,
    lang: LangOption = None,
    debug: DebugOption = False,
) -> None:
    """See `options.command_help`."""
    from vitscope._core.pictures import save
    from vitscope.curves import draw, judge

    language = chosen(lang)
    png = _where(picture, run)
    runs, own = _read(run, language), _references(run, reference)
    verdicts = [judge(named.rows, curve_to_follow) for named, curve_to_follow in zip(runs, own, strict=True)]
    different = _different(own)
    shared = different[0] if len(different) == 1 else None
    unwritten: RunError | None = None  # said behind what was found
    try:
        save(draw(runs, shared, language, verdicts=verdicts), png, png.with_suffix(".svg"))
        tell_of_english_pictures(language)
    except RunError as error:
        unwritten = RunError(f"{error}, or choose another place with --out")
    if json_:
        print_json(_document(run, runs, own, verdicts, None if unwritten else png))
    else:
        _show(runs, own, verdicts, language)
    if unwritten is not None:
        raise unwritten
    if not json_:
        where = Text("picture: {png} and {svg}", "図: {png} と {svg}")
        err().print(where.format(png=png, svg=png.with_suffix(".svg"))[language])
    if any(verdict.failed for verdict in verdicts):
        raise typer.Exit(1)


def _document(
    paths: list[Path],
    runs: list[NamedRun],
    own: list[ReferenceCurve | None],
    verdicts: list[Verdict],
    picture: Path | None,
) -> dict[str, Any]:
    """What `--json` prints."""
    different = _different(own)
    return {
        "reference": different[0].name if len(different) == 1 else None,
        "references": [one.to_dict() for one in different],
        "picture": None if picture is None else str(picture),
        "runs": [
            {
                "run": str(path),
                "name": named.name,
                "reference": follows.name if follows else None,
                **verdict.to_dict(),
            }
            for path, named, follows, verdict in zip(paths, runs, own, verdicts, strict=True)
        ],
    }


def _show(runs: list[NamedRun], own: list[ReferenceCurve | None], verdicts: list[Verdict], lang: Lang) -> None:
    """Each run with what was found, then each reference with its source."""
    for named, verdict in zip(runs, verdicts, strict=True):
        out().print(named.name, style="bold")
        for finding in verdict.findings:
            out().print(f"  {finding.text[lang]}", soft_wrap=True)
    different = _different(own)
    for one in different:
        who = ", ".join(named.name for named, follows in zip(runs, own, strict=True) if follows and _same(follows, one))
        of = Text(f" of {who}", f"（{who}）")[lang] if len(different) > 1 else ""
        out().print(Text(f"reference{of}: ", f"基準{of}: ")[lang] + _facts(one)[lang], soft_wrap=True)
    if len(different) > 1:
        no_band = Text(
            "the runs have different references: each is held against its own, and the picture shows no band",
            "学習ごとに基準が異なるため、それぞれの基準で判定し、図に帯は描いていません",
        )
        err().print(no_band[lang])


def _facts(reference: ReferenceCurve) -> Text:
    """Name, data, seeds and source in one line."""
    data = [Text(reference.data, reference.data)] if reference.data else []
    count = reference.seeds
    seeds = [Text(f"{count} seed{'' if count == 1 else 's'}", f"シード {count} 個")] if count else []
    facts = data + seeds
    en = f" ({', '.join(fact.en for fact in facts)})" if facts else ""
    ja = f"（{'、'.join(fact.ja for fact in facts)}）" if facts else ""
    return Text(f"{reference.name}{en}, from {reference.source}", f"{reference.name}{ja}、出典: {reference.source}")


def _where(asked: Path | None, runs: list[Path]) -> Path:
    """Where the PNG goes; the SVG lies beside it.

    Raises:
        UsageError: an ending that stands for another kind of file.
    """
    if asked is None:
        return runs[0] / "curve.png" if len(runs) == 1 and runs[0].is_dir() else Path("curve.png")
    if asked.is_dir():
        return asked / "curve.png"
    if asked.suffix.lower() not in ("", ".png", ".svg"):
        raise UsageError(
            f"--out {asked} ends in {asked.suffix}, but pictures are written as PNG and SVG; let it end in .png or .svg"
        )
    return asked.with_suffix(".png")


def _read(paths: list[Path], lang: Lang) -> list[NamedRun]:
    """The runs, each by a name that no other has; says what was made of another program's file."""
    from vitscope.curves import NamedRun, distinct_names
    from vitscope.runs import RunFolder, read_log_notes, read_metrics

    files = [path if path.is_file() else RunFolder.open(path).metrics for path in paths]
    names = [file.stem if file.name != "metrics.csv" else file.resolve().parent.name for file in files]
    runs = [NamedRun(name, read_metrics(file)) for name, file in zip(distinct_names(names), files, strict=True)]
    for named, file in zip(runs, files, strict=True):
        for note in read_log_notes(file):
            err().print(f"{named.name}: {note[lang]}", highlight=False)
    return runs


def _references(paths: list[Path], name: str | None) -> list[ReferenceCurve | None]:
    """What each run is held against: the one asked for, else that of its own recipe."""
    from vitscope.curves import load_reference
    from vitscope.recipes.run import reference_of_run
    from vitscope.runs import RunFolder

    if name is not None:
        return [None if name == "none" else load_reference(name)] * len(paths)
    folders = [path.parent if path.is_file() and path.name == "metrics.csv" else path for path in paths]
    return [reference_of_run(RunFolder(folder)) if folder.is_dir() else None for folder in folders]


def _different(references: list[ReferenceCurve | None]) -> list[ReferenceCurve]:
    """The references, each once."""
    found: list[ReferenceCurve] = []
    for one in references:
        if one is not None and not any(_same(one, other) for other in found):
            found.append(one)
    return found


def _same(one: ReferenceCurve, other: ReferenceCurve) -> bool:
    return one.to_dict() == other.to_dict()  # as numbers, one that was not measured is not even equal to itself
