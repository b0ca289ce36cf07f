"""`vitscope explain`: what it takes, what it shows of it in each language and as JSON, and what it does not claim to know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli_samples import Command


@pytest.mark.parametrize("model", ["vit-b16-224", "vit-tiny", "good-vit", "bad-vit:no-residual"])
def test_explain_in_both_languages_and_as_json(vitscope: Command, model: str) -> None:
    english, japanese, data = (
        vitscope("explain", model),
        vitscope("explain", model, "--lang", "ja"),
        vitscope("explain", model, "--json"),
    )
    assert (english.code, japanese.code, data.code) == (0, 0, 0)
    stages = data.json["stages"]
    assert len(stages) == 8
    assert [stage["number"] for stage in stages] == list(range(1, 9))
    for stage in stages:
        assert f"{stage['parameters']:,}" in english.out
        assert stage["shape"] in english.out
        assert stage["shape"] in japanese.out
    assert f"{data.json['parameters']:,}" in english.out
    assert "段階" in japanese.out
    assert "段階" not in english.out


def test_explain_knows_the_parameters_of_vit_b16(vitscope: Command) -> None:
    assert vitscope("explain", "vit-b16-224", "--json").json["parameters"] == 86_567_656


def test_explain_takes_a_recipe_a_spec_and_a_run(vitscope: Command, tmp_path: Path, finished: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model: {name: good-vit}\ndata: {source: digits}\n")
    (tmp_path / "spec.yaml").write_text("image_size: 8\npatch_size: 2\ndim: 32\nheads: 2\n")
    assert vitscope("explain", tmp_path / "mine.yaml", "--json").json["spec"]["dim"] == 192
    assert vitscope("explain", tmp_path / "spec.yaml", "--json").json["spec"]["dim"] == 32
    assert vitscope("explain", finished, "--json").json["spec"]["dim"] == 16


def test_a_switch_is_explained_before_anything_is_trained(vitscope: Command, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model: {name: vit-ti4-32, depth: 2}\ndata: {source: digits}\n")
    for model, depth in (("vit-ti4-32", 12), (str(file), 2)):
        for key in ("pooling", "model.pooling"):  # its own name, and a recipe's
            changed = vitscope("explain", model, "--set", f"{key}=mean", "--set", "mlp_ratio=2", "--json").json
            assert (changed["spec"]["pooling"], changed["spec"]["mlp_ratio"]) == ("mean", 2)
            assert changed["spec"]["depth"] == depth
            assert changed["parameters"] < vitscope("explain", model, "--json").json["parameters"]


@pytest.mark.parametrize(
    ("model", "change", "words"),
    [
        ("vit-ti4-32", "poolin=mean", "unknown key 'model.poolin' (did you mean 'pooling'?)"),
        ("vit-ti4-32", "depth", "--set 'depth' is not of the form KEY=VALUE"),
        ("good-vit", "pooling=mean", "pooling is a switch of the plain ViT"),
        ("RUN", "depth=3", "is a run, whose model is as it was trained"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(
    vitscope: Command, finished: Path, model: str, change: str, words: str
) -> None:
    said = vitscope("explain", finished if model == "RUN" else model, "--set", change)
    assert said.code == 2
    assert words in said.sentence


@pytest.mark.parametrize(
    ("fault", "number"),
    [("no-position", 5), ("scrambled-patches", 3), ("batch-mixing", 6), ("softmax-head", 8), ("cls-detached", 7)],
)
def test_a_fault_stands_at_its_stage(vitscope: Command, fault: str, number: int) -> None:
    model = f"bad-vit:{fault}"
    data = vitscope("explain", model, "--json").json
    assert [stage["number"] for stage in data["stages"] if stage["notes"]] == [number]
    for lang, mark in (("en", f"← fault {fault}"), ("ja", f"← 不具合 {fault}")):
        shown = vitscope("explain", model, "--lang", lang).out
        row = next(line for line in shown.splitlines() if mark in line)
        assert row.startswith(f"{number}  ")
        said = data["stages"][number - 1]["notes"][0]["text"][lang]
        _, _, below = shown.partition(f"\n{number}. ")
        assert said in below.partition(f"\n{number + 1}. ")[0]
        assert shown.count(said) == 1


@pytest.mark.parametrize(
    ("text", "follow", "classes", "channels"),
    [
        ("model: {SIZES}\ndata: {source: photos}\n", ["channels", "classes"], 1000, 3),
        ("model: {SIZES}\ndata: {source: 'hub:a/b'}\n", ["channels", "classes"], 1000, 3),
        ("model: {SIZES}\n", ["channels", "classes"], 1000, 3),
        ("SIZES\n", ["channels", "classes"], 1000, 3),
        ("model: {name: good-vit}\ndata: {source: photos}\n", ["channels", "classes"], 10, 3),
        ("model: {SIZES, channels: 1}\ndata: {source: photos}\n", ["classes"], 1000, 1),
        ("model: {SIZES, classes: 7}\ndata: {source: photos}\n", ["channels"], 7, 3),
        ("model: {SIZES}\ndata: {source: digits}\n", [], 10, 1),
        ("model: {SIZES}\ndata: {source: cifar10}\n", [], 10, 3),
        ("model: {SIZES}\ndata: {source: 'cifar10:my.tar.gz'}\n", [], 10, 3),
        ("model: {SIZES}\ndata: {source: cifar100}\n", [], 100, 3),
        ("model: {SIZES}\ndata: {source: cifar100, label_column: coarse_label}\n", ["classes"], 1000, 3),
    ],
)
def test_what_a_file_leaves_to_its_data_is_said_to_follow_them(
    vitscope: Command, tmp_path: Path, text: str, follow: list[str], classes: int, channels: int
) -> None:
    file = tmp_path / "mine.yaml"
    inline = text.replace("SIZES", "image_size: 8, patch_size: 2, dim: 32, heads: 2")
    file.write_text(inline if "{" in inline else inline.replace(", ", "\n"))
    data = vitscope("explain", file, "--json").json
    assert data["follow_data"] == follow
    assert (data["spec"]["classes"], data["spec"]["channels"]) == (classes, channels)
    marked = {stage["number"] for stage in data["stages"] if stage["notes"]}
    assert marked == {{"channels": 1, "classes": 8}[key] for key in follow}
    english, japanese = vitscope("explain", file).out, vitscope("explain", file, "--lang", "ja").out
    assert ("classes follow the data" in english, "channels follow the data" in english) == (
        "classes" in follow,
        "channels" in follow,
    )
    assert ("クラス数はデータに従う" in japanese, "チャネル数はデータに従う" in japanese) == (
        "classes" in follow,
        "channels" in follow,
    )


def test_a_run_and_a_name_leave_nothing_to_data(vitscope: Command, finished: Path) -> None:
    for model in (str(finished), "vit-b16-224", "bad-vit"):
        assert vitscope("explain", model, "--json").json["follow_data"] == []


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("good-vit:none", "no built-in model 'good-vit:none'"),
        ("runs/missing", "runs/missing does not exist; give a built-in name"),
        ("model.safetensors", "model.safetensors is a file that is no YAML; give a built-in name"),
    ],
)
def test_what_is_no_model_gets_the_right_sentence(
    vitscope: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.safetensors").touch()
    assert vitscope("explain", model).sentence.startswith(words)


def test_a_folder_does_not_hide_a_built_in_name(
    vitscope: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good-vit").mkdir()
    assert vitscope("explain", "good-vit", "--json").json["spec"]["dim"] == 192


def test_explain_of_a_built_in_name_loads_no_torch() -> None:
    program = (
        "import sys\nfrom vitscope.cli.main import main\ntry:\n    main(['explain', 'good-vit'])\n"
        "except SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
