"""Options that several commands share, and the help of each command with its example."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from vitscope._core.text import Lang, Text, language_of_locale
from vitscope.cli.help_words import folded_lines, in_language

if TYPE_CHECKING:
    CommandContext = typer.Context
else:  # typer hands over the context of its own click (or of the installed one), which is no `typer.Context`
    CommandContext = typer.Context.__mro__[1]


class Command(TyperCommand):
    """A command whose usage line reads `[RECIPE]` and `IMAGE...`, whatever brackets the installed typer would add."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`[OPTIONS]`, then the arguments by the names that they are documented with."""
        arguments = [p for p in self.params if p.param_type_name == "argument"]
        return ["[OPTIONS]", *(f"{p.metavar}" if p.required else f"[{p.metavar}]" for p in arguments)]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Each option in the reader's language, a flag without a type."""
        lang = asked_language(ctx.obj or ())
        for parameter in self.get_params(ctx):
            if getattr(parameter, "is_flag", False):
                parameter.metavar = ""
            parameter.help = in_language(parameter.help or "", lang)  # type: ignore[attr-defined]
        with folded_lines() if lang == "ja" else nullcontext():
            super().format_help(ctx, formatter)


def asked_language(words: Sequence[str]) -> Lang:
    """The language that a command line asks for with `--lang`, else the locale's."""
    asked: str = language_of_locale()
    for word, following in pairwise((*words, "")):
        if word == "--lang" or word.startswith("--lang="):
            asked = word.partition("=")[2] or following
    return "ja" if asked == "ja" else "en"


class LangChoice(StrEnum):
    """What `--lang` takes."""

    en = "en"
    ja = "ja"


JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else there.")
]
LangOption = Annotated[
    LangChoice | None,
    typer.Option(
        "--lang", help="Language of explanations and findings; by default that of the locale.", show_default=False
    ),
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one setting, e.g. --set train.lr=0.001; can be repeated.",
        show_default=False,
    ),
]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="SOURCE",
        help="digits, cifar10, cifar100, hub:owner/name, a folder of class folders, or a folder of parquet files.",
        show_default=False,
    ),
]
PageOption = Annotated[
    Path | None,
    typer.Option("--html", metavar="PAGE.html", help="Also write a page.", show_default=False),
]
TimeLimitOption = Annotated[
    float, typer.Option("--time-limit", metavar="SECONDS", help="After which somebody's code is ended.")
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]


def chosen(lang: LangChoice | None) -> Lang:
    """The language asked for, or the locale's."""
    if lang is None:
        return language_of_locale()
    return "ja" if lang is LangChoice.ja else "en"


_HELP: dict[str, tuple[Text, str]] = {
    "models": (
        Text("List the built-in models with their sizes.", "組み込みのモデルを、大きさとともに一覧表示します。"),
        "vitscope models",
    ),
    "recipes": (
        Text(
            "List the built-in recipes and what was measured with each.",
            "組み込みのレシピと、その測定値を一覧表示します。",
        ),
        "vitscope recipes",
    ),
    "explain": (
        Text(
            "Show a model's pipeline, stage by stage, with the why of each.",
            "モデルの処理の流れを、段階ごとに理由とともに示します。",
        ),
        "vitscope explain vit-b16-224 --lang ja",
    ),
    "train": (
        Text(
            "Train a model, each epoch held against the recipe's reference curve.",
            "モデルを学習し、エポックごとに基準の学習曲線と照らし合わせます。",
        ),
        "vitscope train quickstart --out runs/first",
    ),
    "eval": (
        Text(
            "Measure a trained model: accuracy with its interval, per class, confusion, calibration.",
            "学習済みモデルを評価します（正解率と信頼区間、クラス別、混同行列、較正）。",
        ),
        "vitscope eval runs/first",
    ),
    "predict": (
        Text(
            "Classify images: files, folders, items of a data source, or - for standard input.",
            "画像を分類します（ファイル、フォルダ、データソースの画像、- は標準入力）。",
        ),
        "vitscope predict runs/first digits:17",
    ),
    "curve": (
        Text(
            "Draw learning curves over the reference band and say where a run left it.",
            "学習曲線を基準の帯に重ねて描き、どこで帯を離れたかを示します。",
        ),
        "vitscope curve runs/good --reference vit_patch4_cifar10_200ep",
    ),
    "look": (
        Text(
            "Follow one image through a model, every picture checked, on one page.",
            "1枚の画像がモデルの中をどう流れるかを、検証済みの図とともに1つのページにまとめます。",
        ),
        "vitscope look runs/first digits:17",
    ),
    "report": (
        Text(
            "Make one page about a run, or several side by side: curve, accuracy, mistakes, recipe.",
            "学習結果を1つのページにまとめます（学習曲線、正解率、誤分類、レシピ。複数なら並べて比較）。",
        ),
        "vitscope report runs/first",
    ),
    "doctor": (
        Text(
            "Examine how a ViT behaves and say what is wrong with it, with evidence and the fix.",
            "ViTの振る舞いを検査し、何が問題かを、根拠と対処方法とともに示します。",
        ),
        "vitscope doctor mypackage.models:MyViT --image-size 32",
    ),
    "compare": (
        Text(
            "Set two ViTs side by side: what differs, which learns better from the same data, and why.",
            "2つのViTを並べて、どこが違うか、同じデータでどちらがよく学習するか、その理由は何かを調べます。",
        ),
        "vitscope compare good-vit bad-vit --html compare.html",
    ),
    "bench": (
        Text(
            "Measure speed against other ViT libraries and against the machine's limit, in one run.",
            "ほかのViTライブラリやマシンの上限と、速さを一度に測って比べます。",
        ),
        "vitscope bench --peers vit-pytorch,timm --models specimen",
    ),
}


def command_help(name: str) -> str:
    """A command's help: one sentence in each language and an example."""
    text, example = _HELP[name]
    return f"{text.en}\n\n{text.ja}\n\nExample / 例: [bold]{example}[/bold]"
