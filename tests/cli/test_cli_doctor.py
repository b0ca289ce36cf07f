"""`vitscope doctor`: what it prints, how it ends, and that somebody's code cannot hurt it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vitscope.cli.doctor import CHECK_IDS
from vitscope.cli.main import main
from vitscope.doctor.checks import CHECKS
from vitscope.doctor.curve.examine import CURVE_CHECKS
from vitscope.doctor.data.examine import DATA_CHECKS

CODE = """
import os, random, subprocess, sys, threading, time
import numpy, torch
from torch import nn
import vitscope

class Hangs(nn.Module):
    def forward(self, x):
        while True: time.sleep(0.05)

class Ends(nn.Module):
    def forward(self, x):
        os._exit(1)

class Raises(nn.Module):
    def forward(self, x): raise ValueError("shape trouble")

class Interrupts(nn.Module):
    def forward(self, x): raise KeyboardInterrupt

class Eats(nn.Module):
    def forward(self, x): return torch.zeros(1 << 50)

class Leaves(nn.Module):
    def forward(self, x): sys.exit(0)

class FailsInAThread(nn.Module):
    def forward(self, x):
        threading.Thread(target=time.sleep, args=(500,)).start()
        raise ValueError("with a thread left")

SHIFT = random.random() + numpy.random.rand() + float(torch.rand(())) + hash("letters") % 97 / 97

def leaves_things_running():
    threading.Thread(target=time.sleep, args=(500,)).start()
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(500)"], start_new_session=True)
    open("left.pid", "w").write(str(left.pid))
    return small()

def by_chance():
    model = small()
    with torch.no_grad():
        next(model.parameters()).add_(SHIFT * random.random() * numpy.random.rand())
    return model

def needs(a): return a
def gives(): return 3
def cnn(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
def small(classes=10):
    print("a word on standard output")
    return vitscope.create_model("vit-ti8-32", depth=1, dim=32, heads=1, mlp_dim=32, classes=classes)
"""
BAD = [
    (["nosuch:thing"], "no Python module 'nosuch'"),
    (["theirs:nothing"], "has no 'nothing'"),
    (["theirs:needs"], "it needs a"),
    (["theirs:gives"], "gave an int, expected an nn.Module"),
    (["theirs:cnn", "--image-size", "32"], "no attention in this model"),
    (
        ["theirs:Raises", "--image-size", "32"],
        "whatever the size of the images, its forward raised ValueError (shape trouble)",
    ),
    (["theirs:Interrupts", "--image-size", "32"], "theirs:Interrupts raised KeyboardInterrupt in theirs.py"),
    (["theirs:Eats", "--image-size", "32"], "GiB, half of what is free)"),
    (["theirs:Leaves", "--image-size", "32", "--lang", "ja"], "forwardがtheirs.pyの"),
    (["theirs:FailsInAThread", "--image-size", "32"], "raised ValueError (with a thread left)"),
    (["theirs:small", "--image-size", "48"], "does not take images of 48×48 pixels"),
    (["theirs:small", "--kwargs", "{"], "--kwargs is no JSON"),
    (["theirs:Hangs", "--image-size", "32", "--time-limit", "8"], "did not come to an end within 8 s"),
    (["theirs:Ends", "--image-size", "32"], "ended the process that ran it (exit code 1)"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "theirs.py").write_text(CODE, encoding="utf-8")
    return tmp_path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "vitscope", "doctor", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment,
    )


@pytest.mark.e2e
@pytest.mark.parametrize(("words", "said"), BAD, ids=[words[0] for words, _ in BAD])
def test_bad_input_is_one_sentence(folder: Path, words: list[str], said: str) -> None:
    begun = time.monotonic()
    done = run(folder, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("vitscope: ")]) == 1
    assert time.monotonic() - begun < 60


@pytest.mark.e2e
def test_json_is_one_document_whatever_their_code_prints(folder: Path) -> None:
    done = run(
        folder, "theirs:small", "--image-size", "32", "--json", "--lang", "ja", "--checks", "output,initial-loss"
    )
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["target"] == "theirs:small"
    assert found["checks_run"] == ["output", "initial-loss"]
    done = run(folder, "theirs:small", "--image-size", "32", "--classes", "12", "--checks", "forward", "--json")
    assert done.returncode == 1, "an error makes it unhealthy"
    assert json.loads(done.stdout)["findings"][0]["id"] == "wrong-output-shape"


@pytest.mark.e2e
def test_what_their_code_leaves_running_holds_nothing_up(folder: Path) -> None:
    begun = time.monotonic()
    done = run(folder, "theirs:leaves_things_running", "--checks", "forward", "--time-limit", "120")
    assert time.monotonic() - begun < 100
    assert (done.returncode, "vitscope:" in done.stderr) == (0, False)
    assert "healthy; nothing wrong was found" in done.stdout
    left = Path("/proc") / (folder / "left.pid").read_text()
    deadline = time.monotonic() + 10
    while left.exists() and "Z" not in (left / "stat").read_text().split()[2] and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left.exists() or "Z" in (left / "stat").read_text().split()[2]


@pytest.mark.e2e
def test_the_same_command_finds_the_same_numbers(folder: Path) -> None:
    words = ("theirs:by_chance", "--image-size", "32", "--checks", "forward,gradient,overfit,learning-rate")
    told = [json.loads(run(folder, *words, "--lr", "1e-3", "--json").stdout) for _ in range(2)]
    for each in told:
        del each["seconds"]
    assert told[0] == told[1]
    assert "learning-rate-in-range" in {each["id"] for each in told[0]["findings"]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["good-vit", "--lr", "-1"], "--lr is -1"),
        (["good-vit", "--loss", "hinge"], "--loss is hinge, expected one of cross-entropy"),
        (["good-vit", "--batch-size", "0"], "--batch-size is 0"),
        (["good-vit", "--image-size", "32"], "--image-size is for package.module:callable"),
        (["good-vit", "--classes", "3"], "--classes is for package.module:callable"),
        (["good-vit", "--checks", "position,nosense"], "there is no check 'nosense'"),
        (
            ["good-vit", "--checks", "data-labels"],
            "--checks data-labels examines images and labels, and none were given; add",
        ),
        (["good-vit", "--checks", "forward, data-leak,"], "--checks data-leak examines images"),
        (["good-vit", "--checks", "learning-rate"], "none was given; add --lr LR"),
        (["good-vit", "--checks", "curve-band"], "good-vit has none; give a run folder or a metrics CSV"),
        (["good-vit", "--checks", ""], "there is no check ''"),
        (["log.csv", "--checks", "forward"], "log.csv is a learning curve; choose among curve-divergence"),
        (["good-vit", "--html", "page.pdf"], "--html page.pdf would be an HTML page"),
        (["no/such/run"], "does not exist"),
        (["models.py"], "models.py names no model; write models:NAME, module and the name of what makes it"),
        (["./mine/models.py:MyViT"], "write mine.models:MyViT,"),
        (["/home/me/models.py"], "write models:NAME,"),
        (
            ["models:MyViT(depth=2)"],
            "write models:MyViT, module and the name of what makes it (its arguments go into --kwargs)",
        ),
        (["nothing.csv"], "there is no file nothing.csv"),
        (["nothing.yaml"], "of which 'vitscope models' has a list"),
        (["good-vit", "--kwargs", "{}"], "--kwargs is for package.module:callable"),
        (["good-vit", "--reference", "none"], "--reference is for a metrics CSV"),
        (["log.csv", "--data", "digits", "--deep"], "--data, --deep are for models, and log.csv is a learning curve"),
        (["good-vit", "--html", "/proc/none/page.html"], "cannot write /proc/none/page.html"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_wrong_words_are_one_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["doctor", *words])
    assert end.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lang", "words"),
    [
        (
            "en",
            (
                "NOT healthy; 1 error",
                "the class token never sees a patch",
                "batch_first=True",
                "to confirm the fix: --checks input-blindness",
            ),
        ),
        (
            "ja",
            (
                "異常あり。エラー1件",
                "クラストークンがパッチを一度も見ていない",
                "batch_first=True",
                "修正の確認：--checks",
            ),
        ),
    ],
)
def test_the_screen_names_cause_fix_and_proof(
    lang: str, words: tuple[str, ...], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page, recipe = tmp_path / "page.html", tmp_path / "bad.yaml"
    recipe.write_text("model: {name: bad-vit, image_size: 16, dim: 24, depth: 1, heads: 2, mlp_dim: 32}\n")
    with pytest.raises(SystemExit) as end:
        main(["doctor", str(recipe), "--checks", "input-blindness", "--lang", lang, "--html", str(page)])
    assert end.value.code == 1
    shown = " ".join(capsys.readouterr().out.split())
    for said in words:
        assert said in shown or said.replace(" ", "") in shown.replace(" ", "")
    html = page.read_text(encoding="utf-8")
    assert "class-token-never-sees-a-patch" in html
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_help_names_every_check() -> None:
    named = re.findall(r"[a-z-]+[a-z](?=[,;]|$)", CHECK_IDS)
    assert named == [*CHECKS, *CURVE_CHECKS, *DATA_CHECKS]


def test_a_csv_of_another_program_says_what_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "keras.csv"
    lines = [f"{epoch},{2 - 0.01 * epoch},{0.5 + 0.01 * epoch},x" for epoch in range(1, 8)]
    path.write_text("epoch,loss,val_accuracy,note\n" + "\n".join(lines))
    with pytest.raises(SystemExit) as end:
        main(["doctor", str(path), "--lang", "en"])
    assert end.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Columns that are read: epoch, loss as train_loss, val_accuracy as val_acc. Ignored: note." in shown


def test_a_csv_is_held_against_a_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "Log.CSV"
    path.write_text("epoch,val_acc\n" + "\n".join(f"{epoch},{20 + epoch / 2}" for epoch in range(1, 9)))
    with pytest.raises(SystemExit) as end:
        main(
            [
                "doctor",
                str(path),
                "--reference",
                "vit_patch4_cifar10_200ep",
                "--classes",
                "10",
                "--json",
                "--lang",
                "en",
            ]
        )
    assert end.value.code == 0
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert (finding["id"], finding["evidence"]["below_since"]) == ("below-the-reference", 1)


def test_the_metrics_of_a_run_are_examined_with_what_its_folder_knows(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for target in (finished, finished / "metrics.csv"):
        with pytest.raises(SystemExit):
            main(["doctor", str(target), "--checks", "curve-chance,curve-learning-rate", "--json", "--lang", "en"])
        said.append(json.loads(capsys.readouterr().out))
    assert said[0]["skipped"] == said[1]["skipped"]
    assert "not known" not in str(said[1]["skipped"])


def test_what_is_missing_is_said_in_japanese_too(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["--checks", "data-leak"], "--data SOURCE（digits、cifar10、フォルダなど）を追加してください"),
        (["--checks", "learning-rate"], "--lr LRで追加してください"),
        (["--checks", "curve-modes"], "good-vitには学習曲線がありません"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["doctor", "good-vit", *words, "--lang", "ja"])
        assert end.value.code == 2
        assert said in capsys.readouterr().err


def test_what_the_checks_of_data_take_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "bad-vit:none", "--data", "digits", "--checks", "data-labels,data-leak", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert list(found["seconds"]) == ["data-labels", "data-leak"]
    assert found["seconds"]["data-labels"] > 0


def test_a_healthy_model_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["doctor", "bad-vit:none", "--checks", "input-blindness,output"])
    assert end.value.code == 0
    assert "healthy; nothing wrong was found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["doctor", "m:m", "--kwargs", "{"], "--kwargsがJSONとして読めません（"),
        (["doctor", "m:m", "--kwargs", "[1]"], "--kwargsに渡されたJSONはlistですが、"),
        (["compare", "m:m", "good-vit", "--kwargs-a", "{"], "--kwargs-aがJSONとして読めません（"),
        (
            ["doctor", "god-vit"],
            "'god-vit'という組み込みのモデルはありません（'good-vit'の間違いではありませんか？）。",
        ),
        (["doctor", "good-vit", "--checks", "foward"], "'foward'というチェックはありません（'forward'の間違い"),
        (["doctor", "good-vit", "--lr", "-1"], "--lrに-1が指定されましたが、"),
        (["doctor", "good-vit", "--loss", "hinge"], "--lossにhingeが指定されましたが、cross-entropy、"),
        (["doctor", "good-vit", "--batch-size", "0"], "--batch-sizeに0が指定されましたが、"),
        (["doctor", "good-vit", "--channels", "3"], "--channelsはpackage.module:callable用です。good-vitでは"),
        (["doctor", "good-vit", "--classes", "3"], "--classesはpackage.module:callable用です。good-vitでは"),
        (["doctor", "good-vit", "--reference", "x"], "--referenceはメトリクスのCSV用ですが、good-vitは"),
        (
            ["doctor", "log.csv", "--data", "digits", "--deep"],
            "--data、--deepはモデル用ですが、log.csvは学習曲線です。",
        ),
        (
            ["compare", "good-vit", "bad-vit", "--kwargs-b", "{}"],
            "--kwargs-bはpackage.module:callable用です。bad-vitでは",
        ),
        (["compare", "good-vit", "bad-vit", "--channels", "3"], "good-vitとbad-vitでは決まっているので"),
        (["doctor", "good-vit", "--html", "page.pdf"], "--htmlのpage.pdfはHTMLのページになります。"),
        (["doctor", "good-vit", "--html", "/"], "--htmlの/はフォルダです。"),
        (["doctor", "good-vit", "--time-limit", "0"], "--time-limitに0が指定されましたが、"),
        (["doctor", "no/such/run"], "no/such/runは存在しません。組み込みの名前、"),
        (["doctor", "models.py"], "models:NAMEのように、モジュールとモデルを作るものの名前を"),
        (["doctor", "m" * 300], "…は名前として長すぎます。"),
        (["doctor", "nothing.csv"], "nothing.csvというファイルはありません。"),
        (
            ["doctor", "good-vit", "--checks", "output", "--html", "/proc/none/p.html"],
            "/proc/none/p.htmlに書き込めません（",
        ),
        (["compare", "good-vit", "vit-ti16-224"], "vit-ti16-224が受け付けるのは224×224画素、3チャネルの画像です。"),
    ],
    ids=lambda value: "" if isinstance(value, str) else " ".join(value),
)
def test_wrong_words_are_told_in_japanese_too(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("doctor", "compare"):
        monkeypatch.setattr(f"vitscope.cli.{command}.is_apart", lambda: True)
        monkeypatch.setattr(f"vitscope.cli.{command}.keep_within_limits", lambda: None)
    with pytest.raises(SystemExit) as end:
        main([*words, "--lang", "ja"])
    assert end.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "log.csvは空です。"),
        ("epoch,val_los\n1,2\n", "（ある列：val_los（'val_loss'の間違いではありませんか？））"),
        ("epoch,val_acc,val_acc\n1,2,2\n", "log.csvには列'val_acc'が2つあります。"),
        ("epoch,val_acc\n1,many\n", "log.csvの2行目：val_accが'many'ですが、数である必要があります。"),
        ("epoch,val_acc\nfirst,2\n", "log.csvの2行目：epochが'first'ですが、"),
        ("epoch,val_acc\n1,200\n", "0〜100のパーセント値である必要があります。"),
        ("epoch,val_loss\n1,1e200\n", "1e+100未満の損失である必要があります。"),
    ],
)
def test_what_a_csv_lacks_is_told_in_japanese_too(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        main(["doctor", "log.csv", "--lang", "ja"])
    assert end.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--lang", "ja"], ["--lang=ja"], ["--lang", "en", "--lang=ja"]])
def test_a_module_without_its_callable_is_told_in_the_language_asked_for(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "theirs.py").write_text("raise SystemExit('it was run')", encoding="utf-8")
    for command in (["doctor", "theirs"], ["compare", "good-vit", "theirs"], ["look", "theirs", "digits:3"]):
        for more, said in ((words, "theirs:NAMEのように指定してください"), ([], "write theirs:NAME (package.module")):
            with pytest.raises(SystemExit) as end:
                main([*command, *more])
            assert end.value.code == 2
            assert said in capsys.readouterr().err


FOUR = """
from vitscope.model.create import create_model
def build(ch=3):
    return create_model("vit-ti4-32", dim=24, depth=1, heads=2, mlp_dim=32, classes=10, channels=ch)
"""


def test_a_model_of_four_channels_is_examined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vitscope.cli.doctor.is_apart", lambda: True)
    monkeypatch.setattr("vitscope.cli.doctor.keep_within_limits", lambda: None)
    (tmp_path / "theirs_of_four.py").write_text(FOUR, encoding="utf-8")
    words = ["doctor", "theirs_of_four:build", "--kwargs", '{"ch": 4}', "--checks", "forward,output", "--lang", "en"]
    with pytest.raises(SystemExit) as end:
        main([*words, "--channels", "4"])
    said = capsys.readouterr()
    assert end.value.code == 0, said.err
    assert "Examined on images of 4×32×32" in said.out
    with pytest.raises(SystemExit) as end:
        main([*words, "--channels", "4", "--data", "digits"])
    assert end.value.code == 2
    assert "only vitscope doctor without --data takes such a model" in capsys.readouterr().err
