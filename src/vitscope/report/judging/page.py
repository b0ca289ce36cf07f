"""The page of one run, or of several beside each other: what was seen in, self-contained HTML out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from vitscope._core.text import Lang, Text
from vitscope.curves import NamedRun, draw
from vitscope.curves.panels import BAND
from vitscope.model.specimens.spec import ModelSpec
from vitscope.recipes.load import load_recipe, model_spec, recipe_names
from vitscope.recipes.schema import Recipe
from vitscope.report.art import coloured, data_url, inline_svg, map_of_maps
from vitscope.report.html import asset, render
from vitscope.report.judging.charts import draw_calibration, draw_speed
from vitscope.report.judging.pairs import differences
from vitscope.report.judging.pictures import Gallery, Shown
from vitscope.report.judging.seen import RunSeen, changed_settings
from vitscope.report.judging.words import RUN_WORDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MATRIX = 20
"""Classes up to which the whole confusion matrix is a table of numbers; above, it is a picture."""


@dataclass(frozen=True)
class Thumb:
    """A picture with the map beside it, as addresses."""

    said: Shown
    image: str
    attention: str | None


def page_of(runs: Sequence[RunSeen], lang: Lang = "en") -> str:
    """The whole page."""
    names = {run.reference.name if run.reference else None for run in runs}
    shared = runs[0].reference if len(names) == 1 else None  # a band says nothing of a run on other data
    drawn = draw([NamedRun(run.name, run.rows) for run in runs], shared, lang, verdicts=[run.verdict for run in runs])
    measured = [run for run in runs if run.evaluation is not None]
    title = RUN_WORDS["report_title"].format(run=" · ".join(run.name for run in runs))[lang]
    return render(
        "run.html.j2",
        lang,
        RUN_WORDS,
        style=asset("style.css"),
        title=title,
        runs=runs,
        facts=[(name, [value(run) for run in runs]) for name, value in _FACTS if any(value(run) for run in runs)],
        curve=_svg(drawn),
        findings=[
            [f for f in run.verdict.findings if f.kind != "standing" or run.verdict.standing != "unknown"]
            for run in runs
        ],
        differences=differences([(run.name, run.predictions) for run in runs]),
        classes=_classes(measured),
        matrices=[None if run.evaluation is None else _matrix(run) for run in runs],
        calibration=_svg(draw_calibration(measured, lang)) if measured else None,
        galleries=[
            (_thumbs(run.gallery, run.gallery.mistakes), _thumbs(run.gallery, run.gallery.hardest)) for run in runs
        ],
        positions=[_positions(run) for run in runs],
        speed=_svg(draw_speed(runs, lang)),
        settings=changed_settings(runs) if len(runs) > 1 else [],
        recipes=[_recipe_text(run) for run in runs],
        environments=[_environment(run) for run in runs],
        commands=[run.commands() for run in runs],
    )


def _svg(figure: Figure) -> Markup:
    return Markup(inline_svg(figure).replace(BAND, "var(--line)").replace(BAND.lower(), "var(--line)"))


def _share(run: RunSeen) -> Text | str:
    if run.evaluation is None:
        return ""
    total = run.evaluation.total
    return Text(
        f"{total.accuracy:.2f} % (95 % interval {total.low:.2f} to {total.high:.2f}; {total.right:,} of {total.images:,})",
        f"{total.accuracy:.2f} %（95 % 信頼区間 {total.low:.2f}〜{total.high:.2f}、{total.images:,}枚中{total.right:,}枚）",
    )


def expected(recipe: Recipe | None, spec: ModelSpec) -> Text | str:
    """What was measured with the recipe that is built in, for a run that changes nothing of it but the seed and where the data lie."""
    if recipe is None or recipe.name not in recipe_names() or recipe.data.limit is not None:
        return ""
    own, model = load_recipe(recipe.name), dict(recipe.model)
    given = {key: model[key] for key in ("classes", "channels") if key in model}
    same = (
        model_spec(own.changed(model={**given, **own.model})) == spec,
        recipe.augment == own.augment,
        recipe.train.changed(seed=own.train.seed) == own.train,
    )
    found = own.expect if all(same) else ()
    return Text(
        "; ".join(f"{each.val_acc:.2f} % after {_length(each.after).en}" for each in found),
        "、".join(f"{_length(each.after).ja}で{each.val_acc:.2f} %" for each in found),
    )


def _length(duration: object) -> Text:
    """`10ep` as a reader says it."""
    count, unit = str(duration)[:-2], str(duration)[-2:]
    words = {"ep": Text("epochs", "エポック"), "st": Text("steps", "ステップ")}
    return (
        Text(f"{count} {words[unit].en}", f"{count}{words[unit].ja}")
        if unit in words
        else Text(f"{duration}", f"{duration}")
    )


def _clock(seconds: float) -> str:
    if not 0 <= seconds < math.inf:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


_FACTS: tuple[tuple[Text, Any], ...] = (
    (Text("accuracy of the last epoch's weights, in fp32", "最終エポックの重みの正解率（fp32）"), _share),
    (Text("measured on", "測定データ"), lambda run: run.data_name),
    (
        Text("what this recipe, unchanged, was measured to reach", "このレシピ（変更なし）の実測値"),
        lambda run: expected(run.recipe, run.trained.spec),
    ),
    (
        Text("loss", "損失"),
        lambda run: f"{run.evaluation.loss:.4f}" if run.evaluation else "",
    ),
    (
        Text("top-5 accuracy", "上位5位以内の正解率"),
        lambda run: f"{run.evaluation.top5:.2f} %" if run.evaluation and run.evaluation.top5 is not None else "",
    ),
    (
        Text("calibration error", "較正誤差"),
        lambda run: f"{run.evaluation.calibration_error:.1f} %" if run.evaluation else "",
    ),
    (Text("epochs, steps", "エポック数、ステップ数"), lambda run: f"{run.rows[-1].epoch}, {run.rows[-1].step:,}"),
    (Text("time, evaluation included", "所要時間（評価を含む）"), lambda run: _clock(run.seconds)),
    (
        Text("training images a second (median)", "学習速度（画像／秒、中央値）"),
        lambda run: f"{run.images_per_second:,.0f}" if run.images_per_second else "",
    ),
    (Text("parameters", "パラメータ数"), lambda run: f"{run.parameters:,}"),
    (Text("recipe", "レシピ"), lambda run: run.recipe.name if run.recipe else ""),
    (Text("seed", "シード"), lambda run: str(run.recipe.train.seed) if run.recipe else ""),
    (Text("date", "日付"), lambda run: str(run.environment.get("date", ""))[:10]),
)


def _classes(runs: Sequence[RunSeen]) -> list[tuple[list[RunSeen], list[tuple[str, list[tuple[Any, str]]]]]]:
    """A table for all runs with the same classes, a row a class: for each run its share, and what it is most often taken for."""
    together: dict[tuple[str, ...], list[RunSeen]] = {}
    for run in runs:
        together.setdefault(_of(run).label_names, []).append(run)
    tables = []
    for names, group in together.items():
        rows = []
        for i, name in enumerate(names):
            wrong = [[(n, j) for j, n in enumerate(_of(run).confusion[i]) if j != i and n] for run in group]
            worst = [f"{names[max(each)[1]]} ({max(each)[0]:,})" if each else "–" for each in wrong]
            rows.append((name, [(_of(run).per_class[i], said) for run, said in zip(group, worst, strict=True)]))
        tables.append((group, rows))
    return tables


def _of(run: RunSeen) -> Any:
    assert run.evaluation is not None
    return run.evaluation


def _matrix(run: RunSeen) -> dict[str, Any]:
    """The confusion matrix: cells with their share of the row, or a picture where there are many classes."""
    found = _of(run)
    shares = [[n / max(sum(row), 1) for n in row] for row in found.confusion]
    if len(found.label_names) <= MATRIX:
        cells = [list(zip(row, part, strict=True)) for row, part in zip(found.confusion, shares, strict=True)]
        return {"names": found.label_names, "cells": cells, "image": None}
    import torch

    return {"names": (), "cells": [], "image": data_url(coloured(torch.tensor(shares), 0.0, 1.0, "viridis"))}


def _thumbs(gallery: Gallery, shown: Sequence[Shown]) -> list[Thumb]:
    made = []
    for each in shown:
        pixels = each.pixels if each.pixels.shape[2] == 3 else each.pixels[:, :, 0]
        attention = None
        if each.attention is not None:
            attention = data_url(coloured(each.attention, 0.0, gallery.highest, "viridis"))
        made.append(Thumb(each, data_url(np.ascontiguousarray(pixels)), attention))
    return made


def _positions(run: RunSeen) -> dict[str, Any]:
    found = run.position
    if found.before is None or found.after is None or found.near is None:
        return {"absent": found.absent, "before": None, "after": None}
    before, after = (data_url(map_of_maps(each.cosines, found.grid, 360)) for each in (found.before, found.after))
    return {"absent": None, "before": before, "after": after, "near": found.near}


def _recipe_text(run: RunSeen) -> str:
    return (run.path / "recipe.yaml").read_text(encoding="utf-8") if run.recipe else ""


_MACHINE = ("vitscope", "python", "platform", "cpu", "cores", "threads")


def _environment(run: RunSeen) -> list[tuple[str, str]]:
    """What it was made with: versions and hardware, no place on anyone's machine."""
    found = run.environment
    packages, memory, accelerators = (found.get(key) for key in ("packages", "memory_bytes", "accelerators"))
    rows: list[tuple[str, str]] = []
    rows += [(key, str(found[key])) for key in _MACHINE if key in found]
    if isinstance(packages, dict):
        rows += [(name, str(version)) for name, version in packages.items() if version]
    if isinstance(memory, int):
        rows.append(("memory", f"{memory / 2**30:.1f} GiB"))
    if isinstance(accelerators, list) and accelerators:
        rows.append(("accelerators", ", ".join(map(str, accelerators))))
    if found.get("git_commit"):
        rows.append(("git", f"{found['git_commit']}{' + changes' if found.get('git_changed') else ''}"))
    return rows


def default_page(paths: Sequence[Path]) -> Path:
    """`report.html` in the run, or here for several."""
    return paths[0] / "report.html" if len(paths) == 1 else Path("report.html")
