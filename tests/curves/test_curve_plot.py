"""The picture: what is on it, that nothing runs into anything else, and that the same curves give the same bytes."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text as Words

from vitscope._core import pictures
from vitscope._core.errors import RunError
from vitscope._core.pictures import save
from vitscope.curves import NamedRun, draw, judge, load_reference, panels
from vitscope.curves.layout import epoch_ticks, loss_ceiling, short_names, shorten, spread
from vitscope.runs import EpochMetrics

PUBLISHED = load_reference("vit_patch4_cifar10_200ep")
SOURCES = str(Path(__file__).parents[2] / "src")
nan = math.nan


def run(name: str, epochs: int = 10, *, lift: float = 0.0) -> NamedRun:
    """As the reference, `lift` points higher; for more epochs than it has, its last epoch again."""
    published = [PUBLISHED.rows[min(epoch, 200) - 1] for epoch in range(1, epochs + 1)]
    rows = [
        EpochMetrics(e, e, 1.0, 2.0 * 0.98**e, 50.0, row.val_loss, row.val_acc + lift, 1e-4, 1.0)
        for e, row in enumerate(published, start=1)
    ]
    return NamedRun(name, rows)


def blank(given: NamedRun, *columns: str) -> NamedRun:
    return NamedRun(given.name, [replace(row, **dict.fromkeys(columns, nan)) for row in given.rows])


def diverged() -> NamedRun:
    start = run("diverged", 9)
    wild = [replace(row, train_loss=1e9, val_loss=1e8) for row in start.rows[6:8]]
    return NamedRun("diverged", [*start.rows[:6], *wild, replace(start.rows[8], train_loss=math.inf, val_loss=nan)])


def gids(figure: Figure, panel: int) -> list[str]:
    return [line.get_gid() for line in figure.axes[panel].lines if line.get_gid() not in ("leader", "key")]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Words) if text.get_text()]


CASES = {
    "the reference alone": lambda: draw([], PUBLISHED),
    "two runs": lambda: draw([run("good-vit", lift=4), run("bad-vit", lift=-5)], PUBLISHED),
    "one epoch": lambda: draw([run("one", 1)], PUBLISHED),
    "eight runs": lambda: draw(
        [run(f"runs/reference-cifar10-{i}", 3 + 3 * i, lift=i - 4.0) for i in range(8)], PUBLISHED
    ),
    "nine runs": lambda: draw([run(f"W{'M' * 40}{i}", 10, lift=i / 100) for i in range(9)], PUBLISHED),
    "longer than the reference": lambda: draw([run("long", 300)], PUBLISHED),
    "stopped early and left the band": lambda: draw(
        [run("whole", 150, lift=4), run("a-name-of-twenty-let", 100, lift=-30), run("b", 3, lift=-30)], PUBLISHED
    ),
    "the same in wide letters": lambda: draw(
        [run("全部", 150, lift=4), run("ある実験の途中経過", 100, lift=-30)], PUBLISHED, "ja"
    ),
    "diverged": lambda: draw([diverged(), run("fine")], PUBLISHED),
    "without validation": lambda: draw([blank(run("none"), "val_loss", "val_acc")], PUBLISHED),
    "without anything": lambda: draw([blank(run("none"), "val_loss", "val_acc", "train_loss")], None),
    "without rows": lambda: draw([NamedRun("new", [])], None),
    "nothing at all": lambda: draw([], None),
    "dollars": lambda: draw([run("$x^{$ %s {}")], PUBLISHED),
}


@pytest.mark.parametrize("case", CASES)
def test_every_word_is_inside_the_picture_and_over_no_other(case: str) -> None:
    figure = CASES[case]()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    shown = [text for text in figure.findobj(Words) if text.get_text() and text.get_visible()]
    # ticks outside of the limits have a text but are not drawn
    for axes in figure.axes:
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            hidden = [t for t in axis.get_major_ticks() if not limits[0] <= t.get_loc() <= limits[1]]
            shown = [text for text in shown if text not in [label for t in hidden for label in (t.label1, t.label2)]]
    boxes = [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in shown]
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text
    for i, (text, box) in enumerate(boxes):
        for other, its in boxes[:i]:
            across = min(box.x1, its.x1) - max(box.x0, its.x0)
            down = min(box.y1, its.y1) - max(box.y0, its.y0)
            # boxes have room for ascenders and descenders; only letters that touch matter
            assert not (across > 1 and down > 0.35 * min(box.height, its.height)), f"{text!r} over {other!r}"


def test_the_axis_of_epochs_ends_with_the_runs() -> None:
    figure = draw([run("a", 10), run("b", 4)], PUBLISHED)
    for axes in figure.axes:
        low, high = axes.get_xlim()
        assert 0.5 <= low <= 1
        assert 10 <= high <= 11
        assert list(axes.get_xticks()) == list(range(1, 11))
    reference = next(line for line in figure.axes[0].lines if line.get_gid() == "reference")
    assert max(reference.get_xdata()) == 10
    assert list(reference.get_ydata()) == [row.val_acc for row in PUBLISHED.rows[:10]]
    assert draw([], PUBLISHED).axes[0].get_xlim()[1] >= 200


def test_the_band_is_two_points_on_each_side() -> None:
    figure = draw([run("a", 3)], PUBLISHED)
    (band,) = [patch for patch in figure.axes[0].collections if patch.get_gid() == "band"]
    edges = {(float(x), round(float(y), 6)) for x, y in band.get_paths()[0].vertices}
    assert {(1.0, 34.7), (1.0, 38.7), (3.0, 48.45), (3.0, 52.45)} <= edges
    assert not figure.axes[1].collections


def test_lines_rings_and_labels_of_each_run() -> None:
    figure = draw([run("good-vit", lift=4), run("bad-vit", lift=-5)], PUBLISHED)
    accuracy = ["reference", "run1-val_acc", "run1-ring", "run2-val_acc", "run2-ring"]
    losses = ["reference", "run1-train_loss", "run1-val_loss", "run2-train_loss", "run2-val_loss"]
    assert gids(figure, 0) == accuracy
    assert gids(figure, 1) == losses
    assert {
        "good-vit",
        "bad-vit",
        "65.3 %, above from epoch 1",
        "56.3 %, below from epoch 1",
        "61.3 % at epoch 10",
    } <= set(words(figure))
    by_name = {line.get_gid(): line for axes in figure.axes for line in axes.lines}
    assert by_name["run1-val_loss"].get_linestyle() == "-"
    assert by_name["run1-train_loss"].get_linestyle() == "--"
    assert list(by_name["run2-ring"].get_xdata()) == [1]
    assert by_name["run1-val_acc"].get_color() != by_name["run2-val_acc"].get_color()
    assert by_name["run1-val_acc"].get_marker() != by_name["run2-val_acc"].get_marker()


def test_a_run_that_stopped_early_does_not_look_like_a_longer_one() -> None:
    figure = draw([run("whole", lift=4), run("stopped", 3, lift=-5)], PUBLISHED)
    for axes in figure.axes:
        bars = [line for line in axes.lines if line.get_gid() == "run2-end"]
        assert bars
        assert all((line.get_marker(), list(line.get_xdata())) == ("|", [3]) for line in bars)
        assert not [line for line in axes.lines if line.get_gid() == "run1-end"]
        for line in axes.lines:
            first, *_, last = line.get_xdata() if len(line.get_xdata()) > 1 else (0, 0)
            if line.get_gid() == "leader" and last == 1.0 and first < 0.5:  # in fractions of the axes
                assert line.get_color() == panels.FAINT
    assert {"45.5 % at epoch 3, below from 1", "65.3 %, above from epoch 1"} <= set(words(figure))
    caption = "bar: the run ends there"
    assert any(caption in text for text in words(figure))
    assert not any(caption in text for text in words(draw([run("whole")], PUBLISHED)))


def test_runs_with_references_of_their_own() -> None:
    runs = [run("a", lift=-5), run("b", lift=-5)]
    verdicts = [judge(runs[0].rows, PUBLISHED), judge(runs[1].rows, None)]
    figure = draw(runs, None, verdicts=verdicts)
    assert {"56.3 %, below from epoch 1", "56.3 %"} <= set(words(figure))
    assert any("no band: the runs have different references" in text for text in words(figure))
    assert not figure.axes[0].collections


def test_nine_runs_are_nine_looks() -> None:
    figure = draw([run(f"run {i}") for i in range(9)], None)
    looks = {
        (line.get_color(), line.get_marker()) for line in figure.axes[0].lines if line.get_gid().endswith("val_acc")
    }
    assert len(looks) == 9


def test_overfitting_and_divergence_are_marked() -> None:
    figure = draw([run("long", 200), diverged()], PUBLISHED)
    assert "0.823, rising from epoch 75" in words(figure)
    assert "1e+08 at epoch 8, diverged at 9" in words(figure)
    ring = next(line for line in figure.axes[1].lines if line.get_gid() == "run1-ring")
    assert list(ring.get_xdata()) == [75]


def test_one_divergence_does_not_flatten_the_others() -> None:
    assert draw([diverged(), run("fine")], PUBLISHED).axes[1].get_ylim()[1] < 3


def test_a_run_that_measured_nothing_is_said_to() -> None:
    assert "no run measured this" in words(draw([blank(run("none"), "val_acc", "val_loss")], PUBLISHED))


def test_the_same_curves_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(draw([run("猫 good-vit")], PUBLISHED), tmp_path / f"{name}.png", tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "a.svg", "b.png", "b.svg"]
    svg = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "<dc:date>" not in svg
    assert ">Validation accuracy, %</text>" in svg  # text as text


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot write"):
        save(draw([], PUBLISHED), tmp_path / "file" / "curve.png")


@pytest.mark.filterwarnings("ignore:Glyph")  # DejaVu Serif has no Japanese letters
def test_japanese_words_need_a_japanese_font(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "japanese_font", lambda: None)
    figure = draw([run("猫の実験")], PUBLISHED, "ja")
    assert "Validation accuracy, %" in words(figure)
    assert "run 1" in words(figure)
    monkeypatch.setattr(pictures, "japanese_font", lambda: "DejaVu Serif")  # takes the place of one
    japanese = words(draw([run("good-vit", lift=4)], PUBLISHED, "ja"))
    assert {"検証画像の正解率（%）", "エポック", "基準", "65.3 %、エポック 1 から帯の上"} <= set(japanese)


def test_drawing_logs_no_warning(tmp_path: Path) -> None:
    """A Japanese font of one weight behind or before the Latin one, as most are."""
    program = f"""
import sys
from pathlib import Path
from vitscope._core import pictures
from vitscope._core.pictures import save
from vitscope.curves import draw, load_reference
pictures.japanese_font = lambda: "DejaVu Sans Display"  # comes with matplotlib in one weight
for lang in ("en", "ja"):
    save(draw([], load_reference("{PUBLISHED.name}"), lang), Path(sys.argv[1]) / "a.png", Path(sys.argv[1]) / "a.svg")
"""
    environment = os.environ | {"PYTHONPATH": SOURCES}
    command = [sys.executable, "-W", "ignore", "-c", program, str(tmp_path)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert done.stderr == ""


def test_a_font_installed_after_matplotlib_made_its_list_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import font_manager

    new = font_manager.findfont("DejaVu Serif")  # takes the place of a Japanese one
    listed = [font for font in font_manager.fontManager.ttflist if font.name != "DejaVu Serif"]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", listed)
    monkeypatch.setattr(pictures, "JAPANESE_FONTS", ("DejaVu Serif",))
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [__file__, new])
    assert pictures.japanese_font() == "DejaVu Serif"
    monkeypatch.setattr(pictures, "JAPANESE_FONTS", ("No Such Font",))
    assert pictures.japanese_font() is None


def test_no_setting_of_matplotlib_is_left_behind_or_obeyed(tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from vitscope._core.pictures import save
from vitscope.curves import draw, load_reference
assert "matplotlib" not in sys.modules
import matplotlib
matplotlib.rcParams.update({{"text.usetex": True, "figure.facecolor": "black", "svg.fonttype": "path"}})
settings = lambda: {{name: dict.__getitem__(matplotlib.rcParams, name) for name in matplotlib.rcParams}}
before = settings()
figure = draw([], load_reference("{PUBLISHED.name}"))
save(figure, path_svg=Path(sys.argv[1]))
assert settings() == before
assert "matplotlib.pyplot" not in sys.modules
assert figure.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
"""
    file = tmp_path / "a.svg"
    subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(file)], env=os.environ | {"PYTHONPATH": SOURCES}, check=True
    )
    save(draw([], PUBLISHED), path_svg=tmp_path / "b.svg")
    assert file.read_bytes() == (tmp_path / "b.svg").read_bytes()


# --- layout


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("good-vit", "good-vit"),
        ("runs/reference-cifar10-20261123-101500", "runs/refer…23-101500"),
        ("  two\nlines ", "two lines"),
        ("", "?"),
        ("とても長い名前の実験その一", "とても長…実験その一"),
    ],
)
def test_names_lose_their_middle(name: str, short: str) -> None:
    assert shorten(name) == short


def test_names_that_would_read_the_same_are_numbered() -> None:
    same = ["a" * 15 + str(i) + "b" * 15 for i in range(3)]
    assert short_names([*same, "c"]) == ["aaaaaaaa…bbbbbbb (1)", "aaaaaaaa…bbbbbbb (2)", "aaaaaaaa…bbbbbbb (3)", "c"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_labels_never_meet(heights: Sequence[float]) -> None:
    placed = spread(heights, 0.1, 0.03, 0.95)
    gap = min(0.1, 0.92 / max(1, len(heights) - 1))
    assert all(0.03 - 1e-9 <= height <= 0.95 + 1e-9 for height in placed)
    ordered = sorted(placed)
    assert all(b - a >= gap - 1e-9 for a, b in pairwise(ordered))
    ranks = sorted(range(len(heights)), key=lambda i: heights[i])
    assert all(placed[a] <= placed[b] for a, b in pairwise(ranks))


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([0.8, 0.2, 0.5], 0.1, 0.0, 1.0) == pytest.approx([0.8, 0.2, 0.5])
    assert spread([0.5, 0.5], 0.1, 0.0, 1.0) == pytest.approx([0.45, 0.55])


def test_ticks_and_ceilings() -> None:
    assert epoch_ticks(1) == [1]
    assert epoch_ticks(10) == list(range(1, 11))
    assert epoch_ticks(40) == [1, 10, 20, 30, 40]
    assert epoch_ticks(200) == [1, 50, 100, 150, 200]
    assert loss_ceiling([[2.0, 1.0], [2.2, 3.9]]) == math.inf
    assert loss_ceiling([[2.0, 1.0], [2.0, 1e9]]) == pytest.approx(2.6)
    assert loss_ceiling([[nan], []]) == math.inf
