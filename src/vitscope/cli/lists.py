"""`vitscope models` and `vitscope recipes`: what is built in, with sizes and expected results."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitscope._core.text import Lang, Text
from vitscope.cli.options import DebugOption, JsonOption, LangOption, chosen
from vitscope.cli.screen import big, out, print_json, table

if TYPE_CHECKING:
    from vitscope.recipes.schema import Expect, Recipe

_NAME, _WHAT = Text("name", "名前"), Text("what it is", "内容")


def models(json_: JsonOption = False, lang: LangOption = None, debug: DebugOption = False) -> None:
    """See `options.command_help`."""
    from vitscope.model.catalogue import PATTERN, catalogue

    language, entries = chosen(lang), catalogue()
    if json_:
        print_json({"models": [entry.to_dict() for entry in entries], "pattern": PATTERN.to_dict()})
        return
    heads = (_NAME, Text("parameters", "パラメータ数"), Text("FLOPs", "FLOPs"), Text("image", "画像"), _WHAT)
    shown = table(*(head[language] for head in heads), numbers=(1, 2))
    for entry in entries:
        name = " = ".join((entry.name, *entry.aliases))
        size = "×".join(map(str, entry.image_size))
        shown.add_row(name, big(entry.parameters), big(entry.flops), size, entry.summary[language])
    out().print(shown)
    out().print(f"\n{PATTERN[language]}", markup=False)


def recipes(json_: JsonOption = False, lang: LangOption = None, debug: DebugOption = False) -> None:
    """See `options.command_help`."""
    from vitscope.recipes.load import load_recipe, recipe_names

    language, found = chosen(lang), [load_recipe(name) for name in recipe_names()]
    if json_:
        print_json({"recipes": [recipe.to_dict() for recipe in found]})
        return
    heads = (_NAME, Text("data", "データ"), Text("length", "長さ"), Text("should reach", "到達すべき値"), _WHAT)
    shown = table(*(head[language] for head in heads))
    for recipe in found:
        length, source = str(recipe.train.duration), recipe.data.source
        shown.add_row(recipe.name, source, length, _expected(recipe, language), recipe.summary.text[language])
    out().print(shown)


def _expected(recipe: Recipe, lang: Lang) -> str:
    if not recipe.expect:
        return Text("not measured yet", "未測定")[lang]
    return "\n".join(_line(expect, lang) for expect in recipe.expect)


def _line(expect: Expect, lang: Lang) -> str:
    line = Text(
        "{acc:g} %{spread} after {after} ({seeds} seed{s}{minutes}{hardware}{date})",
        "{after}で{acc:g} %{spread}（シード{seeds}個{minutes}{hardware}{date}）",
    )
    return line.format(
        acc=expect.val_acc,
        spread=f" ± {expect.spread:g}" if expect.spread is not None else "",
        after=expect.after,
        seeds=expect.seeds,
        s="" if expect.seeds == 1 else "s",
        minutes=f", {expect.minutes:g} min" if expect.minutes is not None else "",
        hardware=f", {expect.hardware}" if expect.hardware else "",
        date=f", {expect.date}" if expect.date else "",
    )[lang]
