"""The words that the page of a comparison prints around what was found."""

from __future__ import annotations

from vitscope._core.text import Text
from vitscope.report.doctoring.words import DOCTOR_WORDS

COMPARE_WORDS: dict[str, Text] = {
    **DOCTOR_WORDS,
    "compare_title": Text("{one} and {other} side by side", "{one}と{other}の比較"),
    "race": Text("The race", "競争"),
    "race_how": Text(
        "Each was trained {steps} on {data} ({train} images; batches of {batch}, AdamW, learning rate {lr}, augmentation: {augment}) and "
        "measured on {measured} images it was not trained on. For one seed all get the same batches in the same order with the same augmentation; "
        "a mended copy starts from the very weights of the model it is a copy of. Points are seeds, bars their mean.",
        "各モデルを{data}（{train}枚、バッチ{batch}、AdamW、学習率{lr}、データ拡張：{augment}）で{steps}学習し、"
        "学習に使っていない{measured}枚で評価しました。同じシードでは、バッチの内容と順序、データ拡張がすべて同じです。"
        "修正したコピーは元のモデルとまったく同じ重みから学習を始めます。点は各シード、棒は平均を表します。",
    ),
    "interval_how": Text(
        "Intervals are 95 % of Student's t over the seeds' differences, and never narrower than so many images can tell, the same ones for each "
        "seed; with two seeds they are wide. Each is of its own: of twenty such intervals, one leaves out the truth. "
        "Differences are taken before rounding.",
        "区間は、シードごとの差に対するt分布の95 %区間です（評価画像はどのシードでも同じなので、その枚数による限界より狭くはしません）。"
        "シードが2個の場合は広くなります。区間は1つずつ求めており、20個に1個は真の差を含みません。差は、丸める前の値から求めています。",
    ),
    "interval_of_one": Text(
        "There was one seed, so there are no intervals: one seed cannot tell models from luck. Differences are taken before rounding.",
        "シードが1個だけなので、区間はありません。シード1個では、モデルの差と偶然を区別できません。差は、丸める前の値から求めています。",
    ),
    "none": Text("none", "なし"),
    "seed_number": Text("seed {seed}", "シード{seed}"),
    "mean_of_seeds": Text("mean", "平均"),
    "right_after": Text("right after the race, %", "競争後の正解率（%）"),
    "chance": Text("chance", "チャンスレベル"),
    "diverged": Text("diverged", "発散"),
    "differences": Text("Differences", "差"),
    "points": Text("points", "ポイント"),
    "interval": Text("95 % interval", "95 %区間"),
    "to": Text(" to ", "〜"),
    "between": Text("{one} − {other}", "{one} − {other}"),
    "structure": Text("What they are made of", "構造"),
    "part": Text("part", "部品"),
    "matters": Text("Can the difference matter?", "違いは影響するか"),
    "same": Text("the same", "同じ"),
    "behaviour": Text("What the doctor found", "検査結果"),
    "only": Text("only in {model}", "{model}のみ"),
    "mended": Text("Mended in a copy", "コピーで修正した内容"),
    "gone": Text("the check finds it no more", "修正後、このチェックでは見つからなくなりました"),
    "not_gone": Text("the check still finds it", "修正後も、このチェックで見つかります"),
    "gained": Text("what the mend gains", "修正による向上"),
    "left": Text("what it leaves of the gap", "修正後に残る差"),
    "comma": Text(", ", "、"),
    "gone_with": Text("The mend of '{other}' mends this too.", "「{other}」を修正すると、これも一緒になくなります。"),
    "no_mend": Text(
        "No mended copy was raced; why, the sentences at the top say.",
        "修正したコピーは競争していません。理由はページ冒頭のまとめを参照してください。",
    ),
}
