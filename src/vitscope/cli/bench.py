"""`vitscope bench`: peers and models in; a table, a picture and JSON of what each reaches beside what the machine can do, out.

What was measured before Ctrl-C is kept: the files are written, and the command ends with 130.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vitscope._core.errors import Interrupted, UsageError
from vitscope._core.text import Lang, Text
from vitscope.cli.options import DebugOption, JsonOption, LangOption, chosen
from vitscope.cli.screen import err, print_json, tell_of_english_pictures


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
    rounds: Annotated[int, typer.Option("--rounds", help="Rounds over all libraries, of which the median counts.")] = 5,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", help="Time budget: 9.5, or 60 with --full, or 4 with --growth.", show_default=False),
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
    from vitscope.bench.plan import make_plan

    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file, expected a folder for bench.json and its pictures")
    language = chosen(lang)
    if growth:
        given = {"--peers": peers, "--models": models, "--batches": batches, "--full": full or None}
        for name, value in given.items():
            if value is not None:
                raise UsageError(f"--growth measures vitscope alone around one model and takes no {name}; leave it out")
        _grow(4.0 if minutes is None else minutes, rounds, threads, out, language, json_)
        return
    if minutes is None:
        minutes = 60.0 if full else 9.5
    plan = make_plan(peers, models, batches=batches, rounds=rounds, minutes=minutes, full=full, threads=threads)
    _compare(plan, out, language, json_)


def _compare(plan: Any, out: Path, lang: Lang, as_json: bool) -> None:
    from vitscope._core.files import write_json
    from vitscope.bench.picture import draw_bench
    from vitscope.bench.run import run_bench
    from vitscope.cli.bench_screen import bench_progress, show_bench
    from vitscope.curves import save

    with bench_progress(lang) as tell:
        result = run_bench(plan, tell=tell)
    write_json(out / "bench.json", result.to_dict())
    if result.rows:
        save(draw_bench(result, lang), out / "bench.png", out / "bench.svg")
        tell_of_english_pictures(lang)
    if as_json:
        print_json(result.to_dict())
    else:
        show_bench(result, lang)
    _end(out, "bench", bool(result.rows), result.interrupted, lang)


def _grow(minutes: float, rounds: int, threads: int | None, out: Path, lang: Lang, as_json: bool) -> None:
    from vitscope._core.files import write_json
    from vitscope.bench.growth import run_growth
    from vitscope.bench.growth_picture import draw_growth
    from vitscope.cli.bench_screen import bench_progress, show_growth
    from vitscope.curves import save

    with bench_progress(lang) as tell:
        result = run_growth(minutes=minutes, rounds=rounds, threads=threads, tell=tell)
    write_json(out / "growth.json", result.to_dict())
    if result.points:
        save(draw_growth(result, lang), out / "growth.png", out / "growth.svg")
        tell_of_english_pictures(lang)
    if as_json:
        print_json(result.to_dict())
    else:
        show_growth(result, lang)
    _end(out, "growth", bool(result.points), result.interrupted, lang)


def _end(out: Path, name: str, drawn: bool, interrupted: bool, lang: Lang) -> None:
    files = Text("results: {json}", "結果: {json}").format(json=out / f"{name}.json")
    if drawn:
        more = Text(", picture: {png} and {svg}", "、図: {png} と {svg}").format(
            png=out / f"{name}.png", svg=out / f"{name}.svg"
        )
        files = Text(files.en + more.en, files.ja + more.ja)
    err().print(files[lang])
    if interrupted:
        raise Interrupted(f"interrupted; what was measured before is in {out / f'{name}.json'}")
