"""The command: tables in both languages, JSON alone on standard output, files, pictures, refusals, Ctrl-C."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from bench_samples import FakeFleet, FakeWorker
from cli_samples import Command
from test_bench_run import steady

from vitscope._core.text import Text
from vitscope.bench import run as running
from vitscope.bench.growth import AXES, BASE, GrowthResult, SkippedPoint
from vitscope.bench.plan import MODES, OURS, PRECISIONS, Cell, Plan
from vitscope.bench.processes import WorkerFailed
from vitscope.bench.result import BenchResult, Skipped
from vitscope.bench.startup import Startup
from vitscope.bench.words import digits
from vitscope.cli.bench_screen import show_bench, show_growth


@pytest.fixture
def vitscope(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """`vitscope`, in an empty folder, on a wide English terminal."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG", "LANGUAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.chdir(tmp_path)
    return Command(capfd)


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The bench with fake processes; `steps` can be changed."""
    state: dict[str, Any] = {"step": steady}

    def run_bench(plan: Plan, *, tell: Any = None, keep: Any = None) -> BenchResult:
        fleet = FakeFleet(lambda *words: state["step"](*words), absent=("torchvision",))
        bench = running.Bench(
            replace(plan, startup=False),
            fleet.processes,
            tell=tell,
            keep=keep,
            clock=fleet.clock,
            available=lambda: 2**40,
        )
        bench.startup = Startup(3.25, 0.02, {"vitscope": 0.03, "torch": 1.5}, 3)
        return bench.run()

    monkeypatch.setattr(running, "run_bench", run_bench)
    return state


WORDS = ("bench", "--models", "specimen", "--batches", "128", "--rounds", "2")


def test_table_and_summary_in_both_languages(vitscope: Command, faked: dict[str, Any]) -> None:
    english, japanese = vitscope(*WORDS), vitscope(*WORDS, "--lang", "ja")
    assert (english.code, japanese.code) == (0, 0)
    plain = " ".join(english.out.split())
    assert "specimen, training, batch 128" in plain
    assert "vitscope default 2,560 0.0% 1.00 × as fast" in plain
    assert "timm explicit autocast 1,422 0.0% 1.80 × as fast" in plain
    assert "specimen, training, batch 128: 8.00 × (2,560 against 320 images/s of vit-pytorch, default fp32)" in plain
    assert "vitscope against the fastest peer in its best setting" in plain
    assert "2048³ matrix product takes 100 GFLOP/s in fp32 and 400 GFLOP/s in bf16" in plain
    assert "start-up: 3.2 s from" in plain
    assert "skipped: torchvision: is not installed" in " ".join(english.err.split())
    for words in ("学習、バッチ 128", "最良の設定", "上限比", "1.80 倍", "マシン: ", "起動: "):
        assert words in japanese.out
    assert "省略: torchvision" in japanese.err
    assert not any("぀" <= letter <= "ヿ" for letter in english.out)


def skips(capfd: pytest.CaptureFixture[str], show: Any, result: Any) -> list[list[str]]:
    """The lines about what was skipped, in English and in Japanese."""
    told = []
    for lang in ("en", "ja"):
        show(result, lang)
        told.append([line for line in capfd.readouterr().err.splitlines() if line])
    return told


def test_what_was_skipped_takes_a_line_for_each_reason(capfd: pytest.CaptureFixture[str]) -> None:
    late, absent = Text("no time", "時間切れ"), Text("is not there", "ありません")
    cells = [
        Cell("specimen", library, mode, precision, False, batch)
        for batch in (512, 1)
        for mode in MODES
        for precision in PRECISIONS
        for library in (OURS, "timm")
    ]
    cells += [
        Cell("specimen", "timm", "train", "fp32", True, 128),
        Cell("vit-b16-224", "timm", "train", "fp32", False, 8),
    ]
    skipped = [Skipped(absent, library="torchvision"), *(Skipped(late, cell=cell) for cell in cells)]
    skipped.insert(3, Skipped(Text("RuntimeError: no", "RuntimeError: no"), cell=cells[-1]))
    result = BenchResult({"libraries": {OURS: "1", "timm": "1"}}, (), tuple(skipped))
    assert skips(capfd, show_bench, result) == [
        [
            "skipped: torchvision: is not there",
            "skipped: specimen (training, inference; batch 1, 512; fp32, bf16; all libraries); specimen (training; batch 128; "
            "fp32, compiled; timm); vit-b16-224 (training; batch 8; fp32; timm): no time",
            "skipped: vit-b16-224 (training; batch 8; fp32; timm): RuntimeError: no",
        ],
        [
            "省略: torchvision: ありません",
            "省略: specimen（学習・推論、バッチ 1・512、fp32・bf16、全ライブラリ）、specimen（学習、バッチ 128、fp32、コンパイルあり、timm）、"
            "vit-b16-224（学習、バッチ 8、fp32、timm）: 時間切れ",
            "省略: vit-b16-224（学習、バッチ 8、fp32、timm）: RuntimeError: no",
        ],
    ]
    assert len(result.to_dict()["skipped"]) == len(skipped)


def test_points_that_were_skipped_take_a_line_for_each_reason(capfd: pytest.CaptureFixture[str]) -> None:
    late = Text("no time", "時間切れ")
    points = [SkippedPoint("dim", value, mode, late) for value in (384, 768) for mode in MODES]
    result = GrowthResult({}, BASE, AXES, (), (*points, SkippedPoint("batch", 32, "train", late)), ())
    assert skips(capfd, show_growth, result) == [
        ["skipped: width: 384, 768 (training, inference); batch, images: 32 (training): no time"],
        ["省略: 幅 384・768（学習・推論）、バッチ（枚） 32（学習）: 時間切れ"],
    ]
    assert len(result.to_dict()["skipped"]) == 5


def test_files_and_json(vitscope: Command, faked: dict[str, Any], tmp_path: Path) -> None:
    ended = vitscope(*WORDS, "--json", "--out", "there")
    document = ended.json
    assert {"machine", "rows", "skipped"} <= set(document)
    assert json.loads((tmp_path / "there" / "bench.json").read_text(encoding="utf-8"))["rows"] == document["rows"]
    assert (tmp_path / "there" / "bench.png").stat().st_size > 10_000
    svg = (tmp_path / "there" / "bench.svg").read_text(encoding="utf-8")
    for words in ("specimen, training", "specimen, inference", "batch 128", "vit-pytorch", "limit:"):
        assert words in svg


def test_ctrl_c_writes_what_there_is_and_ends_with_130(
    vitscope: Command, faked: dict[str, Any], tmp_path: Path
) -> None:
    count = 0

    def interrupts(*words: Any) -> float:
        nonlocal count
        count += 1
        if count == 6:
            raise KeyboardInterrupt
        return steady(*words)

    faked["step"] = interrupts
    ended = vitscope(*WORDS)
    assert ended.code == 130
    assert "interrupted; what was measured before is in" in ended.err
    document = json.loads((tmp_path / "bench" / "bench.json").read_text(encoding="utf-8"))
    assert (document["finished"], document["interrupted"]) == (False, True)
    assert document["rows"]


def test_the_json_is_there_after_every_block_and_says_that_it_is_not_finished(
    vitscope: Command, faked: dict[str, Any], tmp_path: Path
) -> None:
    file, seen = tmp_path / "bench" / "bench.json", list[dict[str, Any]]()

    def looks(*words: Any) -> float:
        if file.exists():
            seen.append(json.loads(file.read_text(encoding="utf-8")))
        return steady(*words)

    faked["step"] = looks
    assert vitscope(*WORDS).code == 0
    assert {(one["finished"], one["interrupted"]) for one in seen} == {(False, False)}
    assert {row["mode"] for row in seen[0]["rows"]} == {"train"}
    assert json.loads(file.read_text(encoding="utf-8"))["finished"] is True


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(
    vitscope: Command, faked: dict[str, Any], tmp_path: Path
) -> None:
    measured: list[str] = []
    faked["step"] = lambda library, cell, setting: measured.append(library) or steady(library, cell, setting)
    (tmp_path / "file").touch()
    sentence = vitscope(*WORDS, "--out", "file/there").sentence
    assert sentence.startswith("cannot write to --out file/there (Not a directory); choose another folder")
    assert not measured


def test_a_budget_in_which_nothing_fits_is_told(vitscope: Command, faked: dict[str, Any], tmp_path: Path) -> None:
    faked["step"] = lambda *_: 1000.0
    ended = vitscope(*WORDS, "--minutes", "0.01")
    assert ended.code == 2
    assert "nothing was measured within --minutes 0.01, of which start-up" in ended.err
    document = json.loads((tmp_path / "bench" / "bench.json").read_text(encoding="utf-8"))
    assert (document["rows"], document["finished"]) == ([], False)


def test_a_library_of_ones_own_that_cannot_take_part_ends_the_bench_at_once(
    vitscope: Command, faked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = vitscope(*WORDS, "--peers", "no_such_package.models:vit")
    assert "there is no package 'no_such_package' to import; put its folder on PYTHONPATH" in ended.sentence

    def fails(self: FakeWorker, request: Any) -> dict[str, Any]:
        if self.library == "os.path:join":
            raise WorkerFailed("TypeError: expected str")
        return {"version": "1.0", "threads": 2}

    monkeypatch.setattr(FakeWorker, "hello", fails)
    sentence = vitscope(*WORDS, "--peers", "os.path:join").sentence
    assert (
        "--peers names os.path:join, which failed with a small ViTSpec (TypeError: expected str); give a function"
        in sentence
    )


def test_the_command_is_named_without_the_machines_paths(
    vitscope: Command, faked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("/somewhere/bin/vitscope", "/somewhere/vitscope/__main__.py"):
        monkeypatch.setattr(sys, "argv", [program, "bench", "--out", "there"])
        assert vitscope(*WORDS, "--json").json["machine"]["command"] == ["vitscope", "bench", "--out", "there"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--peers", "tim"], "no peer 'tim' to measure (did you mean 'timm'?)"),
        (["--models", "vit-b16"], "no model 'vit-b16' to measure (did you mean 'vit-b16-224'?)"),
        (["--batches", "0"], "--batches holds '0', expected whole numbers from 1"),
        (["--rounds", "0"], "--rounds is 0, expected a number from 1"),
        (["--minutes", "-1"], "--minutes is -1"),
        (["--growth", "--peers", "timm"], "--growth measures vitscope alone around one model and takes no --peers"),
        (["--out", "file"], "--out file is a file, expected a folder"),
        (["--peer", "timm"], "No such option: --peer"),
    ],
    ids=" ".join,
)
def test_wrong_words_get_one_sentence_and_2(vitscope: Command, tmp_path: Path, words: list[str], sentence: str) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    assert sentence in vitscope("bench", *words).sentence
    assert not (tmp_path / "bench").exists()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1943.7, "1,944"), (100.0, "100"), (99.96, "100"), (22.0, "22.0"), (5.9, "5.90"), (0.5, "0.500")],
)
def test_rates_have_three_digits_at_least(value: float, shown: str) -> None:
    assert digits(value) == shown


@pytest.mark.e2e
@pytest.mark.timeout(1200)  # a CPU without instructions for bf16 takes fifty times as long for those cells
def test_vitscope_alone_from_the_command_to_the_files(tmp_path: Path) -> None:
    words = ["--peers", "none", "--models", "specimen", "--batches", "1", "--rounds", "2", "--threads", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "vitscope", "bench", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    # in the order of measuring, which the CPU decides; at a batch of one the two precisions are equally quick on some
    cells = sorted((row["mode"], row["precision"]) for row in document["rows"])
    assert cells == [("inference", "bf16"), ("inference", "fp32"), ("train", "bf16"), ("train", "fp32")]
    assert all(row["images_per_second"] > 0 for row in document["rows"])
    assert max(row["ratio"] for row in document["rows"]) >= 1
    assert document["machine"]["startup"]["first_step"] > 0
    assert document["machine"]["command"] == ["vitscope", "bench", *words]
    assert (tmp_path / "bench" / "bench.png").exists()


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("name", "found", "words"),
    [
        ("bench", "rows", ["--peers", "none", "--models", "specimen", "--batches", "1,2", "--rounds", "1"]),
        ("growth", "points", ["--growth", "--rounds", "1"]),
    ],
)
def test_a_kill_leaves_what_was_measured(tmp_path: Path, name: str, found: str, words: list[str]) -> None:
    file = tmp_path / "bench" / f"{name}.json"
    command = [sys.executable, "-m", "vitscope", "bench", *words, "--threads", "1"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not file.exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    document = json.loads(file.read_text(encoding="utf-8"))
    assert document[found]
    assert (document["finished"], document["interrupted"]) == (False, False)
    assert not (tmp_path / "bench" / f"{name}.png").exists()
