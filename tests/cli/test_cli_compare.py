"""`vitscope compare`: exit codes, one sentence for bad input, one JSON document, the page in both languages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_samples import Command

from vitscope._core.text import Text
from vitscope.cli.apart import _too_late

SIZES = "dim: 16\ndepth: 1\nheads: 2\nmlp_dim: 32\nimage_size: 8\npatch_size: 4\n"
SHORT = ("--duration", "4st", "--seeds", "1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("good-vit", "bad-vit"):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\n{SIZES}")
    (tmp_path / "seven.yaml").write_text(f"name: good-vit\n{SIZES}classes: 7\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.e2e
def test_json_is_one_document_with_a_page_beside(vitscope: Command, folder: Path) -> None:
    ended = vitscope(
        "compare", "good-vit.yaml", "bad-vit.yaml", *SHORT, "--json", "--html", "page.html", "--lang", "ja"
    )
    assert ended.code == 1
    found = ended.json
    assert found["healthy"] is False
    assert found["race"]["seeds"] == [0]
    assert [each["model"] for each in found["causes"]] == ["bad-vit.yaml"]
    assert found["causes"][0]["gone_when_mended"] is True
    assert found["page"] == "page.html"
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert '<html lang="ja">' in page
    assert "比較" in page
    assert "一方の重みを画素ごとにもう一方へ移すと" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "枚×4ステップ" in ended.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["good-vit.yaml", "nothing"], "nothing"),
        (["good-vit.yaml", "seven.yaml"], "a race needs models of as many classes"),
        (["seven.yaml", "seven.yaml"], "name data with 7 classes with --data"),
        (["good-vit.yaml", "good-vit"], "a race needs the same for both"),
        (["good-vit.yaml", "bad-vit.yaml", "--seeds", "0"], "--seeds is 0, expected a number from 1 to 10"),
        (["good-vit.yaml", "bad-vit.yaml", "--duration", "long"], "--duration is long, expected epochs such as 10ep"),
        (["good-vit.yaml", "bad-vit.yaml", "--duration", "5%"], "--duration is 5%, expected epochs such as 10ep"),
        (["good-vit.yaml", "bad-vit.yaml", "--duration", "1001ep"], "--duration is 1001ep, expected at most 1000ep"),
        (["good-vit.yaml", "bad-vit.yaml", "--duration", "1000001st"], "expected at most 1000ep or 1000000st"),
        (["good-vit.yaml", "bad-vit.yaml", "--duration", "9" * 400 + "ep"], "expected at most 1000ep or 1000000st"),
        (["good-vit.yaml", "bad-vit.yaml", "--image-size", "8"], "--image-size is for package.module:callable"),
        (["good-vit.yaml", "bad-vit.yaml", "--kwargs-b", "{"], "--kwargs-b is no JSON"),
        (["good-vit.yaml", "bad-vit.yaml", "--kwargs-b", '{"a": 1}'], "--kwargs-b is for package.module:callable"),
        (["good-vit.yaml", "bad-vit.yaml", "--kwargs-a", "{}"], "--kwargs-a is for package.module:callable"),
        (["good-vit.yaml", "bad-vit.yaml", "--html", "page.pdf"], "page.pdf"),
        (["good-vit.yaml", "bad-vit.yaml", "--data", "nowhere"], "nowhere"),
        (["good-vit.yaml", "bad-vit.yaml", "--time-limit", "0"], "--time-limit is 0"),
    ],
)
def test_one_sentence_and_2(vitscope: Command, folder: Path, words: list[str], sentence: str) -> None:
    assert sentence in vitscope("compare", *words).sentence


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["good-vit.yaml", "seven.yaml"], "競争には、クラス数の同じモデルが必要です"),
        (["seven.yaml", "seven.yaml"], "--dataで7クラスのデータを指定するか"),
        (["good-vit.yaml", "bad-vit.yaml", "--seeds", "0"], "1から10までの整数を指定する必要があります"),
        (["good-vit.yaml", "bad-vit.yaml", "--duration", "long"], "10ep（エポック数）か150st（ステップ数）のように"),
        (["good-vit.yaml", "bad-vit.yaml", "--duration", "1001ep"], "指定できるのは1000epまたは1000000stまでです"),
        (["good-vit.yaml", "bad-vit.yaml", "--data", "digit"], "（'digits'の間違いではありませんか？）"),
        (["good-vit.yaml", "bad-vit.yaml", "--data", "./nowhere"], "フォルダ./nowhereがありません"),
        (["good-vit.yaml", "bad-vit.yaml", "--data", "seven.yaml"], "seven.yamlはファイルですが"),
    ],
)
def test_one_japanese_sentence_and_2(vitscope: Command, folder: Path, words: list[str], sentence: str) -> None:
    assert sentence in vitscope("compare", *words, "--lang", "ja").sentence


@pytest.mark.e2e
def test_a_run_and_somebody_s_code(run: Path, tmp_path: Path) -> None:
    """A run's architecture with fresh weights against code, which runs in a process of its own and takes the run's size."""
    (tmp_path / "mine.py").write_text(
        "import vitscope\n"
        "def make(heads):\n"
        "    return vitscope.create_model('vit-ti4-32', dim=16, depth=1, heads=heads, mlp_dim=32, patch_size=4,\n"
        "        image_size=IMAGE, channels=CHANNELS, classes=10)\n"
    )
    model = json.loads((run / "config.json").read_text())
    text = (tmp_path / "mine.py").read_text()
    size, channels = model["model"]["image_size"], model["model"]["channels"]
    (tmp_path / "mine.py").write_text(text.replace("IMAGE", repr(tuple(size))).replace("CHANNELS", str(channels)))
    ended = subprocess.run(
        [sys.executable, "-m", "vitscope", "compare", str(run), "mine:make", "--kwargs-b", '{"heads": 2}', *SHORT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C", "COLUMNS": "200"},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "its architecture races with fresh weights" in ended.stderr
    assert "After 4 steps on the same digits images, 1 seed" in ended.stdout
    assert "mine:make: healthy" in ended.stdout


HANGING = """
import time
import vitscope

def good():
    return vitscope.create_model("good-vit", dim=16, depth=1, heads=2, mlp_dim=32, image_size=8, patch_size=4)

def hangs():
    time.sleep(600)
"""


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("opening", "limit", "words"),
    [
        (1.0, "500", "vitscope: theirs:hangs could not be opened within 1 s and was ended; if it is only slow"),
        (900.0, "15", "vitscope: theirs:hangs did not come to an end within 15 s and was ended; if it is only slow"),
    ],
)
def test_code_that_hangs_is_met_soon_and_named(
    vitscope: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opening: float, limit: str, words: str
) -> None:
    (tmp_path / "theirs.py").write_text(HANGING)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vitscope.cli.compare.OPENING", opening)
    monkeypatch.setattr("vitscope.cli.compare.SHARE", 0.0)
    begun = time.monotonic()
    ended = vitscope("compare", "good-vit", "theirs:hangs", "--time-limit", limit)
    assert ended.code == 2
    assert ended.err.startswith(words)
    assert time.monotonic() - begun < 100


def test_a_comparison_that_is_cut_says_who_was_at_work(tmp_path: Path) -> None:
    at, what = tmp_path / "at", Text("the comparison of a and b", "aとbの比較")
    assert _too_late(what, at, 9.0, 9.0).en.startswith(
        "the comparison of a and b did not come to an end within 9 s and was"
    )
    at.write_text("\nb, mended", encoding="utf-8")
    told = _too_late(what, at, 9.0, 9.0)
    assert told.en.endswith("with --time-limit (it was at work on b, mended)")
    assert told.ja.startswith("aとbの比較は9秒以内に終わらなかったため")
    assert told.ja.endswith("（停止した時点ではb, mendedを処理していました）")
