"""`vitscope bench`: peers and models in; a table, a picture and JSON of what each reaches beside what the machine can do, out.

The JSON is written anew after every block, so a bench that is killed leaves what it had measured, marked as not finished. After Ctrl-C
all files are written, and the command ends with 130.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated

import typer

from vitscope._core.errors import Interrupted, UsageError
from vitscope._core.files import write_json
from vitscope._core.text import Lang, Text
from vitscope.cli.options import DebugOption, JsonOption, LangOption, chosen
from vitscope.cli.screen import err, print_json, tell_of_english_pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vitscope.bench.growth import GrowthResult
    from vitscope.bench.plan import Plan
    from vitscope.bench.result import BenchResult


def bench(
    peers: Annotated[
        str | None,
        typer.Option(
            "--peers",
            metavar="A,B",
            help="vit-pytorch, timm, transformers, torchvision, a package.module:function of your own that takes a "
            "ViTSpec and gives a module, or none; by default all four.",
            show_default=False,
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            "--models",
            metavar="A,B",
            help="specimen, vit-s16-224, vit-b16-224; by default specimen and vit-b16-224.",
            show_default=False,
        ),
    ] = None,
    batches: Annotated[
        str | None,
        typer.Option("--batches", metavar="N,M", help="Batch sizes, such as 1,128.", show_default=False),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", help="Rounds of the headline's figures; their median counts.")] = 5,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            help="Time budget: 9.5, or 60 with --full, or 4 with --growth; start-up and the machine's limits take one of them.",
            show_default=False,
        ),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="ViT-S/16 and more batches too, all compiled as well.")] = False,
    growth: Annotated[
        bool,
        typer.Option(
            "--growth", help="vitscope alone: time and memory against image, patch, depth, width and batch size."
        ),
    ] = False,
    threads: Annotated[
        int | None, typer.Option("--threads", help="Threads of each process; by default torch's.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where JSON and pictures go.")] = Path("bench"),
    json_: JsonOption = False,
    lang: LangOption = None,
    debug: DebugOption = False,
) -> None:
    """See `options.command_help`."""
    language = chosen(lang)
    if growth:
        _refuse({"--peers": peers, "--models": models, "--batches": batches, "--full": full or None})
        _grow(4.0 if minutes is None else minutes, rounds, threads, out, language, json_)
        return
    from vitscope.bench.plan import make_plan

    if minutes is None:
        minutes = 60.0 if full else 9.5
    plan = make_plan(peers, models, batches=batches, rounds=rounds, minutes=minutes, full=full, threads=threads)
    _compare(plan, out, language, json_)


def _try_out(out: Path) -> None:
    """Refuses a folder that cannot be written, before minutes are spent.

    Raises:
        UsageError: it is a file, or cannot be made or written to.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file, expected a folder for bench.json and its pictures")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UsageError(f"cannot write to --out {out} ({error.strerror}); choose another folder") from None


def _refuse(given: dict[str, object]) -> None:
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"--growth measures vitscope alone around one model and takes no {name}; leave it out")


def _compare(plan: Plan, out: Path, lang: Lang, as_json: bool) -> None:
    from vitscope.bench.picture import draw_bench
    from vitscope.bench.run import run_bench
    from vitscope.cli.bench_screen import bench_progress, show_bench

    _try_out(out)
    path = out / "bench.json"
    with bench_progress(lang) as tell:
        result = run_bench(plan, tell=tell, keep=lambda result: write_json(path, result.to_dict()))
    show = None if as_json else lambda: show_bench(result, lang)
    draw = (lambda: draw_bench(result, lang)) if result.rows else None
    _end(result, path, lang, plan.minutes, show=show, draw=draw)


def _grow(minutes: float, rounds: int, threads: int | None, out: Path, lang: Lang, as_json: bool) -> None:
    from vitscope.bench.growth import run_growth
    from vitscope.bench.growth_picture import draw_growth
    from vitscope.bench.plan import check_numbers
    from vitscope.cli.bench_screen import bench_progress, show_growth

    check_numbers(rounds=rounds, minutes=minutes, threads=threads)
    _try_out(out)
    path = out / "growth.json"
    with bench_progress(lang) as tell:
        result = run_growth(
            minutes=minutes,
            rounds=rounds,
            threads=threads,
            tell=tell,
            keep=lambda result: write_json(path, result.to_dict()),
        )
    show = None if as_json else lambda: show_growth(result, lang)
    draw = (lambda: draw_growth(result, lang)) if result.points else None
    _end(result, path, lang, minutes, show=show, draw=draw)


def _end(
    result: BenchResult | GrowthResult,
    path: Path,
    lang: Lang,
    minutes: float,
    *,
    show: Callable[[], None] | None,
    draw: Callable[[], Figure] | None,
) -> None:
    """The screen first (JSON where nothing shows it otherwise), so that a full disk takes no result away; then the files."""
    from vitscope._core.pictures import save

    if show is not None:
        show()
    else:
        print_json(result.to_dict())
    write_json(path, result.to_dict())
    png, svg = path.with_suffix(".png"), path.with_suffix(".svg")
    written = Text("results: {json}", "結果: {json}")
    if draw is not None:
        save(draw(), png, svg)
        tell_of_english_pictures(lang)
        written = Text("results: {json}, picture: {png} and {svg}", "結果: {json}、図: {png} と {svg}")
    err().print(written.format(json=path, png=png, svg=svg)[lang])
    if result.interrupted:
        raise Interrupted(f"interrupted; what was measured before is in {path}")
    if draw is None:
        raise UsageError(
            f"nothing was measured within --minutes {minutes:g}, of which start-up and the machine's limits take about one; give more"
        )
