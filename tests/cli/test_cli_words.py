"""Commands that need no run: help and lists; exit codes and languages; the sentence for every wrong word."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from cli_samples import Command
from typer.main import get_command

from vitscope import __version__
from vitscope._core.text import Lang
from vitscope.cli import screen
from vitscope.cli.help_words import in_language
from vitscope.cli.lists import IN_JAPANESE, measured
from vitscope.cli.main import app
from vitscope.cli.options import _HELP, command_help
from vitscope.cli.screen import table
from vitscope.recipes.load import load_recipe, recipe_names

COMMANDS = tuple(_HELP)
SOURCES = str(Path(__file__).parents[2] / "src")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_commands_example_parses(name: str) -> None:
    program, command, *words = shlex.split(_HELP[name][1])
    assert (program, command) == ("vitscope", name)
    commands: Any = get_command(app)
    given = commands.commands[command].make_context(command, list(words)).params  # parsed, not run
    values = [str(one) for value in given.values() for one in (value if isinstance(value, list) else [value])]
    assert all(word in values for word in words if not word.startswith("--"))


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("recipes", "vitscope recipes [OPTIONS]"),
        ("train", "vitscope train [OPTIONS] [RECIPE]"),
        ("eval", "vitscope eval [OPTIONS] RUN"),
        ("predict", "vitscope predict [OPTIONS] RUN IMAGE..."),
        ("curve", "vitscope curve [OPTIONS] RUN..."),
    ],
)
def test_usage_lines(vitscope: Command, name: str, usage: str) -> None:
    line = next(line for line in vitscope(name, "--help").out.splitlines() if "Usage:" in line)
    assert line.split("Usage:")[1].strip() == usage


def test_help_loads_nothing_heavy() -> None:
    program = (
        f"import sys; sys.path.insert(0, {SOURCES!r})\n"
        "from vitscope.cli.main import main\n"
        "for words in (['--help'], ['train', '--help'], ['curve', '--help']):\n"
        "    try:\n"
        "        main(words)\n"
        "    except SystemExit as end:\n"
        "        assert end.code == 0\n"
        "sys.exit(str(sorted({'torch', 'numpy', 'matplotlib', 'datasets', 'sklearn', 'accelerate'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_commands_help_shows_its_example(vitscope: Command, name: str) -> None:
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
        (["models", "--lang", "fr"], "Invalid value for '--lang': 'fr' is not one of 'en', 'ja'"),
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
        (["train", "--resume", "--out", "nowhere"], "nowhere does not exist, expected a run folder"),
        (["train", "--set", "train.lr=-1"], "train.lr is -1, expected a number greater than 0"),
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


def test_recipes_tell_where_their_figures_come_from(vitscope: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # so that no cell is broken into lines
    english, japanese = vitscope("recipes").out, vitscope("recipes", "--lang", "ja").out
    assert "should reach" not in english
    assert "到達すべき" not in japanese
    for recipe in (load_recipe(name) for name in recipe_names()):
        for lang, shown in (("en", english), ("ja", japanese)):
            letters = "".join(shown.split())
            lines = measured(recipe, cast(Lang, lang)).splitlines()
            assert lines
            assert all("".join(line.split())[:20] in letters for line in lines)
        for expect in recipe.expect:
            words = {expect.data, expect.hardware} | (set() if expect.measured_here else {expect.record})
            assert words - {"CIFAR-10"} <= set(IN_JAPANESE)
    assert "measured" in english
    assert "測定値" in japanese


@pytest.mark.parametrize(
    ("expect", "english", "japanese"),
    [
        (None, ["not measured yet"], ["未測定"]),
        (
            {"val_acc": 98.15, "spread": 0.8, "after": "60ep", "seeds": 3, "minutes": 2, "hardware": "2 CPU cores",
             "data": "CIFAR-10, JPEG copy", "date": "2026-11-23", "record": "benchmarks/results/x"},
            ["98.15 % ± 0.80 after 60ep, mean and SD of 3 seeds", "CIFAR-10, JPEG copy; 2 CPU cores; 2 min; 2026-11-23", "benchmarks/results/x"],
            ["60ep で 98.15 % ± 0.80（シード 3 個の平均と標準偏差）", "CIFAR-10（JPEG版）、CPU 2コア、2 分、2026-11-23", "benchmarks/results/x"],
        ),
        (
            {"val_acc": 79.08, "after": "200ep", "hardware": "a GPU", "data": "CIFAR-10", "record": "somebody's log"},
            ["published, not measured here: 79.08 % after 200ep, 1 seed", "CIFAR-10; a GPU", "somebody's log"],
            ["公表値（ここでは未測定）: 200ep で 79.08 %（シード 1 個）", "CIFAR-10、a GPU", "somebody's log"],
        ),
    ],
)  # fmt: skip
def test_a_measurement_in_words(expect: dict[str, Any] | None, english: list[str], japanese: list[str]) -> None:
    recipe = load_recipe("quickstart").changed(expect=[expect] if expect else [])
    assert measured(recipe, "en").splitlines() == english
    assert measured(recipe, "ja").splitlines() == japanese


def test_models_says_that_the_default_fault_is_a_hypothesis(vitscope: Command) -> None:
    entries = {entry["name"]: entry for entry in vitscope("models", "--json").json["models"]}
    assert {"good-vit", "bad-vit"} <= set(entries)
    assert "hypothesis" in vitscope("models").out
    assert "仮説" in vitscope("models", "--lang", "ja").out


def test_the_locale_sets_the_language(vitscope: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    assert "名前" in vitscope("models").out
    assert "名前" not in vitscope("models", "--lang", "en").out


def test_names_are_shown_letter_by_letter(capsys: pytest.CaptureFixture[str]) -> None:
    """What rich takes for markup or an emoji stands in names of files and of classes."""
    names = ("photos/cat[copy].png", "a:smile:b.png", "q[/bold]", "[red]x")
    shown = table("name[bold]", "[/x]", title="t[/bold]:smile:")
    for name in names:
        shown.add_row(name, name)
    screen.out().print(shown)
    screen.err().print(names[0], names[1], names[2])
    held = capsys.readouterr()
    for name in names:
        assert held.out.count(name) == 2
    assert "name[bold]" in held.out
    assert "t[/bold]:smile:" in held.out
    assert " ".join(names[:3]) in held.err


def test_control_characters_of_a_name_do_not_reach_the_screen(vitscope: Command) -> None:
    assert "\x1b" not in vitscope("train", "\x1b[31mred").err


@pytest.mark.parametrize("name", ["doctor", "compare"])
def test_the_help_of_options_is_in_the_readers_language_and_whole(vitscope: Command, name: str) -> None:
    commands: Any = get_command(app)
    helps = [each.help for each in commands.commands[name].params if getattr(each, "help", None)]
    assert helps
    plain = "".join(c for c in vitscope(name, "--help", "--lang", "ja").out if not c.isspace() and c != "│")
    for said in helps:
        ja = in_language(said, "ja")
        assert ja != said, f"not there in Japanese: {said}"
        assert "".join(ja.split()) in plain
        assert in_language(said, "en") == said
    assert "Show the traceback" in vitscope(name, "--help", "--lang", "en").out
    assert "<bool>" not in vitscope(name, "--help", "--lang", "en").out
