"""What `--help` says of arguments and options, in Japanese. In go the English sentences that stand beside them, out comes the reader's language; a
sentence that is not here stays English."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from vitscope._core.text import Lang

_JA = {
    # of several commands
    "Print one JSON document on standard output and nothing else there.": "標準出力に1つのJSON文書だけを出力します。",
    "Language of explanations and findings; by default that of the locale.": "説明と検査結果の言語。省略時はロケールの言語です。",
    "Show the traceback of an error.": "エラーのトレースバックを表示します。",
    "Show this message and exit.": "このメッセージを表示して終了します。",
    "Also write a page.": "結果のページ（HTML）も書き出します。",
    "After which somebody's code is ended.": "利用者のコードの制限時間。これを過ぎると停止します。",
    "digits, cifar10, cifar100, hub:owner/name, a folder of class folders, or a folder of parquet files.": "digits、cifar10、cifar100、"
    "hub:owner/name、クラスごとのフォルダを含むフォルダ、またはparquetファイルのフォルダ。",
    "Change one setting, e.g. --set train.lr=0.001; can be repeated.": "設定を1つ変更します（例：--set train.lr=0.001）。繰り返し指定できます。",
    "A run folder.": "結果フォルダ。",
    "Arguments for package.module:callable.": "package.module:callableに渡す引数。",
    # doctor
    "A built-in name, a YAML file, a run folder, package.module:callable, or a metrics CSV.": "組み込みの名前、YAMLファイル、結果フォルダ、"
    "package.module:callable、またはメトリクスのCSV。",
    "Side of the model's images in pixels. Without it: what the model says, else the first of a few usual sizes that it takes.": "モデルに"
    "入れる画像の一辺（画素数）。省略時はモデル自身の設定、それもなければ、よく使われるサイズのうち最初に受け付けられたものです。",
    "Channels of the model's images. Without it: what the model says, else 3, 1, or what its first layer takes.": "モデルに入れる画像の"
    "チャネル数。省略時はモデル自身の設定、それもなければ3、1、または最初の層が受け付ける数です。",
    "How many scores the model should give. Without it: as many as it gives.": "モデルが出力すべきスコアの数。省略時は実際の数です。",
    "Examine these images too: digits, cifar10, a folder, …": "これらの画像も検査します（digits、cifar10、フォルダなど）。",
    "Learning rate to hold against the stable range.": "安定な範囲と比べる学習率。",
    "Batch size that it is trained with.": "学習時のバッチサイズ。",
    "Curve to hold a metrics CSV against: a name (vit_patch4_cifar10_200ep) or a CSV file.": "メトリクスのCSVと比べる基準曲線。名前"
    "（vit_patch4_cifar10_200ep）またはCSVファイル。",
    "Do the learning checks of a large model too.": "大きなモデルでも学習を伴うチェックを行います。",
    # compare
    "A built-in name, a YAML file, a run folder (fresh weights), or package.module:callable.": "組み込みの名前、YAMLファイル、結果フォルダ"
    "（重みは初期値）、またはpackage.module:callable。",
    "The other one.": "比べる相手。",
    "Of each training: 150st or 5ep.": "1回の学習の長さ（150st または 5ep）。",
    "Trainings of each, at most; 3 by default. From 6 on a clear race ends early.": (
        "それぞれの学習回数の上限。省略時は3。6以上では、差が明らかになった時点で打ち切ります。"
    ),
    "Side of the images that code takes.": "コードのモデルに入れる画像の一辺（画素数）。",
    "Channels of the images that code takes.": "コードのモデルに入れる画像のチャネル数。",
    "Arguments for A's callable.": "Aのcallableに渡す引数。",
    "Arguments for B's callable.": "Bのcallableに渡す引数。",
}
_BEGINNINGS = {
    "What it is trained with: ": "学習に使う損失：",
    "Only these checks: ": "これらのチェックだけを行います：",
}


def in_language(sentence: str, lang: Lang) -> str:
    """The sentence as a reader of that language has it; lists of names behind a beginning stay as they are."""
    if lang == "en":
        return sentence
    for beginning, said in _BEGINNINGS.items():
        if sentence.startswith(beginning):
            names = (
                sentence.removeprefix(beginning)
                .replace("; of a curve: ", "。学習曲線：")
                .replace("; of --data: ", "。--data：")
            )
            return f"{said}{names.removesuffix('.')}。"
    return _JA.get(sentence, sentence)


@contextmanager
def folded_lines() -> Iterator[None]:
    """In the block typer's helps go on in the next line where a line is full: Japanese has no spaces, and rich would cut it off there."""
    from rich.text import Text as RichText
    from typer import rich_utils

    utils: Any = rich_utils
    usual = utils.Columns

    def folded(parts: Sequence[Any], **options: Any) -> Any:
        if not all(isinstance(each, RichText) for each in parts):
            return usual(parts, **options)
        whole = RichText(" ").join(parts)
        whole.overflow = "fold"
        return whole

    utils.Columns = folded
    try:
        yield
    finally:
        utils.Columns = usual
