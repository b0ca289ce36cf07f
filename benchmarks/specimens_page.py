"""The pictures and the table of docs/why-is-this-vit-bad.md, in both languages: `curves.json` of `specimens.py` and `examinations.json` of
`examinations.py` in; the PNGs, and the pages with their table made anew, out.

    python benchmarks/specimens_page.py benchmarks/results/2026-11-27-specimens
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from vitscope._core.files import write_text
from vitscope._core.pictures import COLOURS, GREY, picture_style, save, set_title
from vitscope._core.text import Lang, Text
from vitscope.model.specimens.faults import FAULT_EFFECTS

DOCS = Path(__file__).parents[1] / "docs"
PAGES: dict[Lang, str] = {"en": "why-is-this-vit-bad.md", "ja": "why-is-this-vit-bad.ja.md"}
DURATION = "4ep"
BEGIN, END = "<!-- made by benchmarks/specimens_page.py -->", "<!-- to here -->"
NAMES = {
    "good-vit": Text("good-vit", "good-vit"),
    "none": Text("bad-vit:none (nothing wrong)", "bad-vit:none（不具合なし）"),
    "batch-mixing": Text("bad-vit (batch-mixing)", "bad-vit（batch-mixing）"),
    "repaired": Text("bad-vit, mended", "修正したbad-vit"),
}
HEAD = (
    Text("model", "モデル"),
    Text("what its forward does", "forwardの中身"),
    Text("what the doctor finds", "doctorの所見"),
    Text("accuracy, %", "正解率（%）"),
)
GOOD = Text("The first specimen, as its owner wrote it.", "1つ目の見本モデル。持ち主の実装どおりです。")
NOTHING = Text("nothing", "なし")
ONE = Text("{:.2f} (one seed, {} epochs)", "{:.2f}（シード1つ、{}エポック）")
SEVERITIES = {
    "error": Text("**error**", "**エラー**"),
    "warning": Text("warning", "警告"),
    "note": Text("note", "参考"),
}
WORDS = {
    "curves": Text("Accuracy on the test images, epoch by epoch", "テスト画像の正解率（エポックごと）"),
    "last": Text("After the last epoch", "最後のエポックの正解率"),
    "epoch": Text("epoch", "エポック"),
    "accuracy": Text("accuracy, %", "正解率（%）"),
    "chance": Text("chance: 10 %", "チャンスレベル：10 %"),
}


def main() -> None:
    """One picture and one table a language."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    records = parser.parse_args().records
    for lang, page in PAGES.items():
        save(draw(rows_of(records), lang), DOCS / "images" / f"{page.removesuffix('.md').replace('.', '-')}.png")
        write_text(DOCS / page, with_table((DOCS / page).read_text(encoding="utf-8"), table(records, lang)))


def rows_of(records: Path) -> list[dict[str, Any]]:
    """Every training, as long as the others; of an arm that has no other, one of another length."""
    rows: list[dict[str, Any]] = json.loads((records / "curves.json").read_text())["rows"]
    alike = {row["arm"] for row in rows if row["duration"] == DURATION}
    return [row for row in rows if row["duration"] == DURATION or row["arm"] not in alike]


def with_table(page: str, lines: str) -> str:
    """The page with what stands between the two marks replaced."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{lines}\n{END}{rest.split(END)[1]}"


def table(records: Path, lang: Lang) -> str:
    """A row for each model: what its forward does, the causes that the doctor found, and the last epoch."""
    said = json.loads((records / "examinations.json").read_text())["models"]
    rows = rows_of(records)
    head = [word[lang] for word in HEAD]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in (name for name in said if name.startswith(("good-vit", "bad-vit"))):
        arm = name.partition(":")[2] or name
        does = FAULT_EFFECTS[arm][lang] if arm in FAULT_EFFECTS else GOOD[lang]  # type: ignore[index]
        lines.append(f"| `{name}` | {does} | {_causes(said[name], lang)} | {_last(rows, arm, lang)} |")
    return "\n".join(lines)


def _causes(examined: dict[str, Any], lang: Lang) -> str:
    """What stands by itself and is more than a note; the notes, where there is nothing else."""
    causes = [f for f in examined["findings"] if f["folded_under"] is None]
    shown = [f for f in causes if f["severity"] != "note"] or causes
    return "<br>".join(f"{SEVERITIES[f['severity']][lang]} `{f['id']}`" for f in shown) or NOTHING[lang]


def _last(rows: list[dict[str, Any]], arm: str, lang: Lang) -> str:
    curves = [row["val_acc"] for row in rows if row["arm"] == arm]
    if not curves:
        return "–"
    last = [curve[-1] for curve in curves]
    if len(last) == 1:
        return ONE[lang].format(last[0], len(curves[0]))
    seeds = ", ".join(f"{value:.2f}" for value in last)
    return f"{statistics.mean(last):.2f} ± {statistics.stdev(last):.2f} ({seeds})"


def draw(rows: list[dict[str, Any]], lang: Lang) -> Any:
    """The arms that have a name of their own as curves, one line a seed; every arm as a bar, one point a seed."""
    arms = {row["arm"]: [other["val_acc"] for other in rows if other["arm"] == row["arm"]] for row in rows}
    order = sorted(arms, key=lambda arm: -sum(curve[-1] for curve in arms[arm]) / len(arms[arm]))
    colours = {arm: COLOURS[number] for number, arm in enumerate(NAMES)}
    with picture_style(lang) as lang:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 1.8 + 0.26 * max(8, len(arms))), dpi=150, layout="constrained")
        left, right = figure.subplots(1, 2)
        for arm in (arm for arm in NAMES if arm in arms):
            for number, curve in enumerate(arms[arm]):
                epochs = range(1, 1 + len(curve))
                style = {"linestyle": "--", "marker": "x"} if arm == "repaired" else {"marker": "o"}
                label = NAMES[arm][lang] if number == 0 else None
                left.plot(epochs, curve, color=colours[arm], markersize=4, linewidth=1.3, label=label, **style)
        shown = min(len(curve) for curves in arms.values() for curve in curves)
        left.set_xticks(range(1, 1 + shown))
        left.set_xlim(0.8, shown + 0.2)
        left.set_xlabel(WORDS["epoch"][lang])
        left.set_ylabel(WORDS["accuracy"][lang])
        set_title(left, WORDS["curves"][lang], lang)
        left.legend(frameon=False, loc="center right")
        for place, arm in enumerate(order):
            last = [curve[-1] for curve in arms[arm]]
            colour = colours.get(arm, GREY)
            right.barh(place, sum(last) / len(last), height=0.6, color=colour, alpha=0.35)
            right.plot(last, [place] * len(last), "o", color=colour, markersize=4)
            right.annotate(
                f"{sum(last) / len(last):.1f}", (max(last), place), (7, 0), textcoords="offset points", va="center"
            )
        right.set_yticks(range(len(order)), [NAMES[arm][lang] if arm in NAMES else arm for arm in order])
        right.set_ylim(len(order) - 0.4, -0.6)
        right.set_xlim(0, 80)
        right.set_xlabel(WORDS["accuracy"][lang])
        set_title(right, WORDS["last"][lang], lang)
        for panel, place in ((left, left.axhline), (right, right.axvline)):
            place(10, linestyle=":", color=GREY, linewidth=1)
            panel.grid(visible=True)
        left.annotate(WORDS["chance"][lang], (1, 10), (0, 4), textcoords="offset points", color=GREY, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
