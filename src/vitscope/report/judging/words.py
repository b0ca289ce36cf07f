"""The words of the page about runs, in both languages; with those that all pages share, `w.name` in its template."""

from __future__ import annotations

from vitscope._core.text import Text
from vitscope.report.words import WORDS

RUN_WORDS: dict[str, Text] = {
    **WORDS,
    "report_title": Text("Training report: {run}", "学習レポート：{run}"),
    "summary": Text("In short", "まとめ"),
    "paired": Text(
        "On the very same {images} images, accuracy of {one} minus that of {other}: {points} points (95 % interval {low} to {high}). "
        "{only_one} images only {one} gets right, {only_other} only {other}.",
        "同じ{images}枚の画像で比べた正解率の差（{one} − {other}）は{points}ポイントです（95 % 信頼区間 {low}〜{high}）。"
        "{one}だけが正解した画像は{only_one}枚、{other}だけが正解した画像は{only_other}枚です。",
    ),
    "is_clear": Text(
        "The interval leaves out zero. It says how sure the difference between these two models is, not between two recipes: "
        "those need several seeds.",
        "信頼区間に0は含まれません。ただし、これはこの2つのモデルの差の確かさであり、レシピの差ではありません。レシピの比較には複数のシードが必要です。",
    ),
    "is_open": Text(
        "The interval holds zero: nothing tells the two apart.", "信頼区間に0が含まれるため、差があるとはいえません。"
    ),
    "pairs_how": Text(
        "Accuracy of the one minus that of the other, on the very same images. Each interval is for that pair by itself: of twenty pairs with no "
        "difference, one leaves out zero by chance. "
        "It says how sure the difference between two models is, not between two recipes: those need several seeds.",
        "まったく同じ画像で比べた正解率の差です。信頼区間は組ごとのもので、差のない組でも20組に1組は偶然0を含まなくなります。"
        "これは2つのモデルの差の確かさであり、レシピの差ではありません。レシピの比較には複数のシードが必要です。",
    ),
    "to": Text(" to ", "〜"),
    "pair": Text("one − other", "比較（一方 − 他方）"),
    "points": Text("points", "ポイント"),
    "only_one": Text("only the one is right", "一方だけ正解"),
    "only_other": Text("only the other", "他方だけ正解"),
    "images": Text("images", "枚数"),
    "curve": Text("The learning curve", "学習曲線"),
    "per_class": Text("Class by class", "クラス別"),
    "accuracy": Text("accuracy %", "正解率 %"),
    "interval": Text("95 % interval", "95 % 信頼区間"),
    "mistaken": Text("most often mistaken for", "最も多い誤分類先"),
    "confusion": Text("What is taken for what", "混同行列"),
    "confusion_how": Text(
        "Rows are the right classes, columns what the model said; the deeper the colour, the larger the share of the row.",
        "行が正解、列が予測です。色が濃いほど、その行に占める割合が大きいことを示します。",
    ),
    "confusion_bright": Text(
        "There are many classes: a pixel each, from 0 % (dark) to 100 % of the row (bright).",
        "クラスが多いため1マスを1画素とし、行の0 %（暗）〜100 %（明）で示します。",
    ),
    "most_confused": Text("Most often confused", "多い誤分類"),
    "calibration": Text("How far its certainty can be trusted", "確信度はどこまで信頼できるか"),
    "calibration_how": Text(
        "On the dashed line a prediction of 80 % is right in 80 of 100 cases; below it the model is surer than it should be. A point's size follows "
        "its number of images.",
        "破線上では、確信度80 %の予測が100回中80回正解します。破線より下は自信過剰です。点の大きさは画像の枚数に対応します。",
    ),
    "mistakes": Text("The pictures that tell most", "注目すべき画像"),
    "certain_mistakes": Text("Wrong, and most certain of it", "確信度の高い誤り"),
    "hardest": Text("Least probability for the right answer, of the rest", "正解の確率が低い画像（上記以外）"),
    "gallery_how": Text(
        "Left the picture as the model gets it; beside it, where the tokens that the scores are read from look in the last block (mean of heads). "
        "That is what this block takes in, not why the answer is what it is.",
        "左がモデルに入力された画像、隣が、スコアの読み出しに使うトークンが最後のブロックで見ている場所です（ヘッドの平均）。"
        "そのブロックが受け取った情報を示すもので、その答えになった理由そのものではありません。",
    ),
    "gallery_scale": Text(
        "One colour scale for all: 0 (dark) to {highest} of the attention (bright). Checked: map · v gives the module's own output, "
        "largest error {error}.",
        "目盛りは共通で、アテンションの割合0（暗）〜{highest}（明）です。マップ・vがモジュール自身の出力と一致することを検証済み（最大誤差{error}）。",
    ),
    "gallery_blind": Text(
        "The tokens that the scores are read from look at no patch at all: for each of these images, all maps are 0. "
        "vitscope look {run} IMAGE says more.",
        "スコアの読み出しに使うトークンはどのパッチも見ていません（すべてのマップが0）。詳しくはvitscope look {run} 画像で確認できます。",
    ),
    "no_script": Text(
        "Scripts are off: only the button for light and dark is missing.",
        "スクリプトが無効のため、明暗の切り替えボタンのみ使えません。",
    ),
    "position": Text("The position embedding, before and after", "位置埋め込みの変化"),
    "position_how": Text(
        "One little map for each patch, in its place: cosine of its position embedding with that of every patch, red 1, white 0, blue -1. "
        "The start is built again from the run's seed.",
        "パッチごとに1枚の小さなマップを、その位置に並べています。全パッチの位置埋め込みとのコサイン類似度で、赤が1、白が0、青が-1です。学習前の状態はシードから再現しています。",
    ),
    "before": Text("Before training", "学習前"),
    "after": Text("After training", "学習後"),
    "nearness": Text(
        "Cosine with direct neighbours minus that with all others: {near}.",
        "隣接パッチとのコサイン類似度と、それ以外との差：{near}。",
    ),
    "speed": Text("Speed", "速度"),
    "speed_how": Text(
        "Training alone, without evaluation; a figure of this machine at that time, whatever else ran on it.",
        "評価を除いた学習だけの速度です。そのときのマシンでの値で、同時に動いていた処理の影響を受けます。",
    ),
    "recipe": Text("The recipe", "レシピ"),
    "settings_differ": Text("Settings in which the runs differ:", "学習ごとに異なる設定："),
    "setting": Text("setting", "設定"),
    "again": Text("How to bring this about again", "再現方法"),
    "again_how": Text(
        "recipe.yaml in the run folder is complete: data source, model, every setting and seed. The same recipe on the same versions and hardware "
        "gives the same numbers.",
        "結果フォルダのrecipe.yamlには、データソース、モデル、すべての設定とシードが含まれています。同じバージョンとハードウェアなら同じ数値になります。",
    ),
    "as_started": Text("as it was started", "開始時のコマンド"),
    "from_folder": Text("from the recipe in the run folder", "結果フォルダのレシピから"),
    "environment": Text("versions and hardware", "バージョンとハードウェア"),
}
