"""What a person sees of a bench: a moving bar while it measures, then tables and a summary. Results in, text out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from vitscope._core.text import Lang, Text
from vitscope.bench.words import MODE, digits
from vitscope.cli.screen import big, err, out, table

if TYPE_CHECKING:
    from vitscope.bench.growth import GrowthResult
    from vitscope.bench.result import BenchResult, Comparison, Row
    from vitscope.bench.rounds import Progress as Doing

_DOING = {
    "start-up": Text("timing start-up", "起動時間を測定中"),
    "machine": Text("measuring the machine", "マシンを測定中"),
    "libraries": Text("starting the libraries", "ライブラリを読み込み中"),
    "compiling": Text("compiling", "コンパイル中"),
    "measuring": Text("measuring", "測定中"),
}
_COMPILED = Text(", compiled", "、コンパイルあり")
_HEADS = (
    Text("library", "ライブラリ"),
    Text("best setting", "最良の設定"),
    Text("images/s", "枚/秒"),
    Text("spread", "ばらつき"),
    Text("vitscope is", "vitscopeの速さ"),
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
    libraries = result.machine.get("libraries", ())
    cells = [(one.why, one.cell.to_dict() if one.cell else {"library": one.library}) for one in result.skipped]
    _show_skipped(cells, ("library", "precision", "batch", "mode"), lambda group: _told(group, libraries, lang), lang)


def _show_skipped(
    skipped: Sequence[tuple[Text, Mapping[str, Any]]],
    by: Sequence[str],
    tell: Callable[[Mapping[str, tuple[Any, ...]]], str],
    lang: Lang,
) -> None:
    """A line for each reason; of what it holds for, things that differ in one value only are told together."""
    for why in dict.fromkeys(reason for reason, _ in skipped):
        groups = folded([what for reason, what in skipped if reason == why], by)
        line = Text("skipped: {what}: {why}", "省略: {what}: {why}")
        what = Text("; ", "、")[lang].join(map(tell, groups))
        err().print(line.format(what=what, why=why[lang])[lang])


def folded(things: Sequence[Mapping[str, Any]], by: Sequence[str]) -> list[dict[str, tuple[Any, ...]]]:
    """Of things with named values, those that differ in one of the values `by` become one thing with all of them, name after name."""
    groups = [{name: (value,) for name, value in thing.items()} for thing in things]
    for name in by:
        alike: dict[tuple[Any, ...], dict[str, tuple[Any, ...]]] = {}
        for group in groups:
            key = tuple(item for item in group.items() if item[0] != name)
            if key in alike and name in group:
                alike[key][name] += group[name]
            else:
                alike[key] = group
        groups = list(alike.values())
    return groups


def _told(group: Mapping[str, tuple[Any, ...]], libraries: Collection[str], lang: Lang) -> str:
    """Cells that differ in little, such as `specimen (training; batch 1, 512; bf16, fp32; all libraries)`; or libraries."""
    comma = Text(", ", "・")[lang]
    named = comma.join(group["library"])
    if "model" not in group:
        return named
    if len(libraries) > 1 and set(group["library"]) == set(libraries):
        named = Text("all libraries", "全ライブラリ")[lang]
    facts = (
        comma.join(MODE[mode][lang] for mode in group["mode"]),
        Text("batch ", "バッチ ")[lang] + comma.join(map(str, sorted(group["batch"]))),
        comma.join(group["precision"]) + (_COMPILED[lang] if group["compiled"] == (True,) else ""),
        named,
    )
    which = Text("; ", "、")[lang].join(facts)
    return Text("{model} ({which})", "{model}（{which}）").format(model=group["model"][0], which=which)[lang]


def _cells(row: Row, lang: Lang) -> list[str]:
    setting = row.setting + (_COMPILED[lang] if row.compiled else "")
    times = (
        Text("{ratio:.2f} × as fast", "{ratio:.2f} 倍").format(ratio=row.ratio)[lang] if row.ratio is not None else "–"
    )
    return [
        row.library,
        setting,
        digits(row.images_per_second),
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
            imports=Text(", ", "、")[lang].join(
                f"{name} {seconds:.2f} " + Text("s", "秒")[lang] for name, seconds in startup["imports"].items()
            ),
        )
        out().print(line[lang], soft_wrap=True)


def _show_summary(result: BenchResult, lang: Lang) -> None:
    from vitscope.bench.result import against_fastest, as_people_run_it

    heads = (
        Text(
            "vitscope against vit-pytorch as people run it (fp32)",
            "vitscopeと、一般的な使い方のvit-pytorch（fp32）の比較",
        ),
        Text(
            "vitscope against the fastest peer in its best setting",
            "vitscopeと、ほかのライブラリで最も速いものの比較（それぞれ最良の設定）",
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
        "{model}、{mode}、バッチ {batch}: {ratio:.2f} 倍（毎秒 {ours} 枚、{library} は {theirs} 枚。設定: {setting}）",
    )
    return line.format(
        model=one.model,
        mode=MODE[one.mode][lang],
        batch=one.batch,
        ratio=one.ratio,
        ours=digits(one.ours.images_per_second),
        theirs=digits(one.theirs.images_per_second),
        library=one.theirs.library,
        setting=one.theirs.setting + (_COMPILED[lang] if one.theirs.compiled else ""),
    )[lang]


def show_growth(result: GrowthResult, lang: Lang) -> None:
    """A table for each thing that was varied, then the sentences of advice."""
    heads = (
        Text("value", "値"),
        Text("tokens", "トークン"),
        Text("FLOPs an image", "画像1枚のFLOPs"),
        Text("attention maps", "attention計算の割合"),
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
                "–" if train is None else digits(train.seconds_per_image * 1000),
                "–" if inference is None else digits(inference.seconds_per_image * 1000),
                memory(train.peak_bytes if train else None),
            )
        out().print(shown)
        out().print("")
    for sentence in result.advice:
        out().print(f"· {sentence[lang]}", soft_wrap=True)
    names = {axis.key: axis.name[lang] for axis in result.surveyed}
    points = [(one.why, {"axis": names[one.axis], "value": one.value, "mode": one.mode}) for one in result.skipped]
    _show_skipped(points, ("value", "mode"), lambda group: _told_point(group, lang), lang)


def _told_point(group: Mapping[str, tuple[Any, ...]], lang: Lang) -> str:
    comma = Text(", ", "・")[lang]
    values, modes = comma.join(map(str, group["value"])), comma.join(MODE[mode][lang] for mode in group["mode"])
    return Text("{axis}: {values} ({modes})", "{axis} {values}（{modes}）").format(
        axis=group["axis"][0], values=values, modes=modes
    )[lang]
