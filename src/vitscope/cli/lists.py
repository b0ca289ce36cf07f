"""`vitscope models` and `vitscope recipes`: what is built in, with sizes and what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitscope._core.text import Lang, Text
from vitscope.cli.options import DebugOption, JsonOption, LangOption, chosen
from vitscope.cli.screen import big, out, print_json, table

if TYPE_CHECKING:
    from vitscope.recipes.schema import Expect, Recipe

_NAME, _WHAT = Text("name", "名前"), Text("what it is", "内容")
_PUBLISHED = Text("published, not measured here: ", "公表値（ここでは未測定）: ")
IN_JAPANESE = {
    "2 CPU cores": "CPU 2コア",
    "CIFAR-10, JPEG copy": "CIFAR-10（JPEG版）",
    "scikit-learn's digits, 360 held out": "scikit-learnの手書き数字（検証用に分けた 360 枚）",
    "the author's GPU": "著者のGPU",
    "the published log of kentaroy47/vision-transformers-cifar10; not repeated by us yet": "kentaroy47/vision-transformers-cifar10 の公開ログ",
}
"""What the built-in recipes say of where they were measured; what a recipe of somebody's own says stays as it is."""


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
    out().print(f"\n{PATTERN[language]}")


def recipes(json_: JsonOption = False, lang: LangOption = None, debug: DebugOption = False) -> None:
    """See `options.command_help`."""
    from vitscope.recipes.load import load_recipe, recipe_names

    language, found = chosen(lang), [load_recipe(name) for name in recipe_names()]
    if json_:
        print_json({"recipes": [recipe.to_dict() for recipe in found]})
        return
    heads = (_NAME, Text("data", "データ"), Text("length", "長さ"), Text("measured", "測定値"), _WHAT)
    shown = table(*(head[language] for head in heads))
    for recipe in found:
        length, source = str(recipe.train.duration), recipe.data.source
        shown.add_row(recipe.name, source, length, measured(recipe, language), recipe.summary.text[language])
    out().print(shown)


def measured(recipe: Recipe, lang: Lang) -> str:
    """Each measurement in three lines: accuracy and seeds; data, hardware and date; the record."""
    if not recipe.expect:
        return Text("not measured yet", "未測定")[lang]
    return "\n".join(line for expect in recipe.expect for line in _lines(expect, lang))


def _lines(expect: Expect, lang: Lang) -> list[str]:
    if expect.spread is None:
        seeds = Text("1 seed", "シード 1 個") if expect.seeds == 1 else Text("mean of {n} seeds", "シード {n} 個の平均")
    else:
        seeds = Text("mean and SD of {n} seeds", "シード {n} 個の平均と標準偏差")
    result = Text(
        "{other}{acc:.2f} %{spread} after {after}, {seeds}", "{other}{after} で {acc:.2f} %{spread}（{seeds}）"
    ).format(
        other="" if expect.measured_here else _PUBLISHED[lang],
        acc=expect.val_acc,
        spread="" if expect.spread is None else f" ± {expect.spread:.2f}",
        after=expect.after,
        seeds=seeds.format(n=expect.seeds)[lang],
    )
    minutes = [] if expect.minutes is None else [Text("{m:g} min", "{m:g} 分").format(m=expect.minutes)[lang]]
    facts = [phrase(expect.data, lang), phrase(expect.hardware, lang), *minutes, expect.date]
    where = Text("; ", "、")[lang].join(fact for fact in facts if fact)
    return [line for line in (result[lang], where, phrase(expect.record, lang)) if line]


def phrase(words: str, lang: Lang) -> str:
    """What a recipe says of a measurement, in Japanese where that is known."""
    return IN_JAPANESE.get(words, words) if lang == "ja" else words
