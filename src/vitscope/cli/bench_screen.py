"""What a person sees of a bench: a moving bar while it measures, then tables and a summary. Results in, text out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from vitscope._core.text import Lang, Text
from vitscope.bench.words import MODE, rate
from vitscope.cli.screen import big, err, out, table

if TYPE_CHECKING:
    from vitscope.bench.growth import GrowthResult
    from vitscope.bench.result import BenchResult, Comparison, Row
    from vitscope.bench.rounds import Progress as Doing

_DOING = {
    "start-up": Text("timing start-up", "起動時間を測定中"),
    "machine": Text("measuring the machine", "マシンを測定中"),
    "libraries": Text("starting the libraries", "ライブラリを起動中"),
    "compiling": Text("compiling", "コンパイル中"),
    "measuring": Text("measuring", "測定中"),
}
_COMPILED = Text(", compiled", "、compile")
_HEADS = (
    Text("library", "ライブラリ"),
    Text("best setting", "最良の設定"),
    Text("images/s", "画像/秒"),
    Text("spread", "ばらつき"),
    Text("vitscope is", "vitscopeとの比"),
    Text("of the limit", "上限比"),
    Text("peak memory", "最大メモリ"),
)


@contextmanager
def bench_progress(lang: Lang) -> Iterator[Callable[[Doing], None]]:
    """A callback for the bench; the bar is the share of the time budget that is spent."""
    console = err()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task("", total=1.0)

        def tell(doing: Doing) -> None:
            words = _DOING[doing.doing][lang]
            if doing.cell is not None:
                words += f" {doing.cell.model}, {MODE[doing.cell.mode][lang]}, {doing.cell.batch}, {doing.cell.library}"
            bar.update(task, completed=doing.spent, description=words)

        yield tell


def show_bench(result: BenchResult, lang: Lang) -> None:
    """A table for each model, mode and batch; what the machine can do and what a beginning costs; the summary; what was skipped."""
    for model, mode, batch in result.groups():
        title = Text("{model}, {mode}, batch {batch}", "{model}、{mode}、バッチ {batch}").format(
            model=model, mode=MODE[mode][lang], batch=batch
        )
        shown = table(*(head[lang] for head in _HEADS), numbers=(2, 3, 4, 5, 6), title=title[lang])
        for row in result.best(model, mode, batch):
            shown.add_row(*_cells(row, lang))
        out().print(shown)
        out().print("")
    _show_machine(result, lang)
    _show_summary(result, lang)
    for skipped in result.skipped:
        facts = skipped.to_dict()
        cell = skipped.cell
        what = facts["library"]
        if cell is not None:
            compiled = _COMPILED[lang] if cell.compiled else ""
            what += f", {cell.model}, {MODE[cell.mode][lang]}, {cell.batch}, {cell.precision}{compiled}"
        line = Text("skipped: {what}: {why}", "省略: {what}: {why}").format(what=what, why=skipped.why)
        err().print(line[lang])


def _cells(row: Row, lang: Lang) -> list[str]:
    setting = row.setting + (_COMPILED[lang] if row.compiled else "")
    times = (
        Text("{ratio:.2f} × as fast", "{ratio:.2f} 倍").format(ratio=row.ratio)[lang] if row.ratio is not None else "–"
    )
    return [
        row.library,
        setting,
        rate(row.images_per_second),
        "–" if row.spread is None else f"{row.spread:.1%}",
        times,
        f"{row.limit_fraction:.1%}",
        memory(row.peak_bytes),
    ]


def memory(size: int | None) -> str:
    """Bytes as MiB or GiB."""
    if size is None:
        return "–"
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def _show_machine(result: BenchResult, lang: Lang) -> None:
    limits = result.machine.get("limits")
    if limits:
        line = Text(
            "machine: {cpu}, threads: {threads}; a 2048³ matrix product takes {fp32}FLOP/s in fp32 and {bf16}FLOP/s in bf16, a copy {copy}B/s",
            "マシン: {cpu}、スレッド数 {threads}。2048³ の行列積は fp32 で {fp32}FLOP/s、bf16 で {bf16}FLOP/s、コピーは {copy}B/s",
        ).format(
            cpu=result.machine.get("cpu"),
            threads=result.machine.get("threads_used") or "?",
            copy=big(limits["copy_bytes_per_second"]),
            **{p: big(rate) for p, rate in limits["matrix_product_flops_per_second"].items()},
        )
        out().print(line[lang], soft_wrap=True)
    startup = result.machine.get("startup")
    if startup:
        first = startup["first_step"]
        line = Text(
            "start-up: {first} s from 'vitscope train quickstart' to the end of the first step; imports: {imports}",
            "起動: vitscope train quickstart から最初のステップの終わりまで {first} 秒。import: {imports}",
        ).format(
            first="–" if first is None else f"{first:.1f}",
            imports=", ".join(f"{name} {seconds:.2f} s" for name, seconds in startup["imports"].items()),
        )
        out().print(line[lang], soft_wrap=True)


def _show_summary(result: BenchResult, lang: Lang) -> None:
    from vitscope.bench.result import against_fastest, as_people_run_it

    heads = (
        Text(
            "vitscope against vit-pytorch as people run it (fp32)",
            "vitscopeと、普段どおりのvit-pytorch（fp32）の比較",
        ),
        Text(
            "vitscope against the fastest peer in its best setting",
            "vitscopeと、最良の設定で最速の他ライブラリの比較",
        ),
    )
    for head, found in zip(heads, (as_people_run_it(result), against_fastest(result)), strict=True):
        if found:
            out().print(f"\n{head[lang]}", style="bold")
        for one in found:
            out().print(f"  {_comparison(one, lang)}", soft_wrap=True)


def _comparison(one: Comparison, lang: Lang) -> str:
    line = Text(
        "{model}, {mode}, batch {batch}: {ratio:.2f} × ({ours} against {theirs} images/s of {library}, {setting})",
        "{model}、{mode}、バッチ {batch}: {ratio:.2f} 倍（毎秒 {ours} 枚、{library} は {theirs} 枚、{setting}）",
    )
    return line.format(
        model=one.model,
        mode=MODE[one.mode][lang],
        batch=one.batch,
        ratio=one.ratio,
        ours=rate(one.ours.images_per_second),
        theirs=rate(one.theirs.images_per_second),
        library=one.theirs.library,
        setting=one.theirs.setting + (_COMPILED[lang] if one.theirs.compiled else ""),
    )[lang]


def show_growth(result: GrowthResult, lang: Lang) -> None:
    """A table for each thing that was varied, then the sentences of advice."""
    heads = (
        Text("value", "値"),
        Text("tokens", "トークン"),
        Text("FLOPs an image", "画像1枚のFLOPs"),
        Text("attention maps", "attentionの割合"),
        Text("training, ms an image", "学習（ミリ秒/枚）"),
        Text("inference, ms an image", "推論（ミリ秒/枚）"),
        Text("training memory", "学習のメモリ"),
    )
    for axis in result.axes():
        shown = table(*(head[lang] for head in heads), numbers=(0, 1, 2, 3, 4, 5, 6), title=axis.name[lang])
        for value in axis.values:
            by_mode = {point.mode: point for point in result.of(axis.key) if point.value == value}
            any_point = next(iter(by_mode.values()), None)
            if any_point is None:
                continue
            train, inference = by_mode.get("train"), by_mode.get("inference")
            shown.add_row(
                str(value),
                str(any_point.tokens),
                big(any_point.flops_per_image),
                f"{any_point.map_share:.0%}",
                "–" if train is None else f"{train.seconds_per_image * 1000:.3g}",
                "–" if inference is None else f"{inference.seconds_per_image * 1000:.3g}",
                memory(train.peak_bytes if train else None),
            )
        out().print(shown)
        out().print("")
    for sentence in result.advice:
        out().print(f"· {sentence[lang]}", soft_wrap=True)
    for skipped in result.skipped:
        line = Text("skipped: {what}: {why}", "省略: {what}: {why}").format(what=skipped["what"], why=skipped["why"])
        err().print(line[lang])
