"""Commands that need no run: help, lists, explain; exit codes and languages; the sentence for every wrong word."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_samples import TINY, Command

from vitscope import __version__
from vitscope._core.errors import ConfigError
from vitscope.cli.main import main
from vitscope.cli.options import _HELP, command_help

COMMANDS = tuple(_HELP)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_commands_help_shows_an_example_that_parses(vitscope: Command, name: str) -> None:
    ended = vitscope(name, "--help")
    assert ended.code == 0
    example = _HELP[name][1]
    plain = " ".join(ended.out.replace("│", " ").split())
    assert example in plain
    assert example.startswith(f"vitscope {name}")
    text = _HELP[name][0]
    assert text.en in plain
    assert "".join(text.ja.split()) in "".join(c for c in ended.out if not c.isspace() and c != "│")
    assert "--json" in ended.out
    assert "--lang" in ended.out
    assert "--debug" in ended.out
    assert example in command_help(name)


def test_the_help_lists_every_command(vitscope: Command) -> None:
    ended = vitscope("--help")
    assert ended.code == 0
    for name in COMMANDS:
        assert f" {name} " in ended.out
    assert vitscope("--version").out == f"vitscope {__version__}\n"


def test_no_words_show_the_help_and_end_with_2(vitscope: Command) -> None:
    ended = vitscope()
    assert ended.code == 2
    assert "Usage" in ended.out + ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["trian"], "No such command 'trian'."),
        (["models", "--jsn"], "No such option: --jsn"),
        (["models", "--lang", "fr"], "'fr' is not one of 'en', 'ja'"),
        (["explain"], "Missing argument 'MODEL'."),
        (["predict", "x"], "Missing argument 'IMAGE...'."),
        (["eval"], "Missing argument 'RUN'."),
        (["curve"], "Missing argument 'RUN...'."),
        (["explain", "vit-b16-225"], "vit-b16-225: an image of 225×225 does not divide into patches of 16×16; the nearest that does is vit-b16-224"),
        (["explain", "god-vit"], "no built-in model 'god-vit' (did you mean 'good-vit'?)"),
        (["explain", "bad-vit:post-nrm"], "no fault 'post-nrm' of bad-vit (did you mean 'post-norm'?)"),
        (["explain", "timm.models:vit"], "'timm.models:vit' is code; explain works in closed form"),
        (["explain", "no.yaml"], "no.yaml does not exist"),
        (["train", "quikstart"], "no recipe 'quikstart' (did you mean 'quickstart'?)"),
        (["train", "--resume"], "--resume needs --out RUN, the folder of the run to continue"),
        (["train", "quickstart", "--resume", "--out", "x"], "--resume goes on with the run's own recipe; leave out RECIPE, --data and --set"),
        (["train", "--resume", "--out", "nowhere"], "nowhere does not exist, expected a run folder"),
        (["train", "--set", "train.lr=-1"], "train.lr is -1: input should be greater than 0"),
        (["train", "--set", "train.l=1"], "unknown key 'train.l' (did you mean 'lr'?)"),
        (["train", "--set", "train.lr"], "--set 'train.lr' is not of the form KEY=VALUE"),
        (["train", "--set", "model.patch_size=3"], "model: image_size 8×8 does not divide into patches of 3×3"),
        (["train", "--set", "model.classes=3", "--out", "OUT"], "model.classes is 3, but digits has 10 classes"),
        (["train", "--data", "nowhere", "--out", "OUT"], "nowhere"),
        (["eval", "nowhere"], "nowhere does not exist, expected a run folder"),
        (["predict", "nowhere", "digits:1"], "nowhere does not exist, expected a run folder"),
        (["curve", "nowhere"], "nowhere does not exist, expected a run folder"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_wrong_words_get_one_sentence_and_2(
    vitscope: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert sentence in vitscope(*words).sentence
    assert not (tmp_path / "OUT").exists()
    assert not (tmp_path / "runs").exists()


def test_debug_shows_where_it_happened() -> None:
    with pytest.raises(ConfigError, match="no recipe 'nonsense'"):
        main(["train", "nonsense", "--debug"])


@pytest.mark.parametrize("name", ["models", "recipes"])
def test_lists_in_both_languages_and_as_json(vitscope: Command, name: str) -> None:
    english, japanese, both = vitscope(name), vitscope(name, "--lang", "ja"), vitscope(name, "--json")
    assert (english.code, japanese.code, both.code) == (0, 0, 0)
    assert "名前" in japanese.out
    assert "名前" not in english.out
    entries = both.json[name]
    assert both.err == ""
    for entry in entries:
        assert entry["name"] in english.out
        assert entry["name"] in japanese.out
    assert english.out != japanese.out


def test_models_says_that_the_default_fault_is_a_hypothesis(vitscope: Command) -> None:
    entries = {entry["name"]: entry for entry in vitscope("models", "--json").json["models"]}
    assert {"good-vit", "bad-vit"} <= set(entries)
    assert "hypothesis" in vitscope("models").out
    assert "仮説" in vitscope("models", "--lang", "ja").out


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


def test_the_locale_sets_the_language(vitscope: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    assert "名前" in vitscope("models").out
    assert "名前" not in vitscope("models", "--lang", "en").out


def test_ctrl_c_anywhere_ends_with_130(vitscope: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from vitscope.recipes import load

    def interrupted(*a: object, **k: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(load, "load_recipe", interrupted)
    ended = vitscope("train", "quickstart", *TINY)
    assert (ended.code, ended.err) == (130, "vitscope: interrupted\n")


def test_control_characters_of_a_name_do_not_reach_the_screen(vitscope: Command) -> None:
    assert "\x1b" not in vitscope("train", "\x1b[31mred").err
