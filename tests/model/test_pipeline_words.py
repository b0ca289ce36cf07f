"""The pipeline in words: the given table line by line, the switches, both languages, the catalogue; none of it with torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_vits import tiny_spec

from vitscope._core.text import LANGS
from vitscope.model.catalogue import BAD, GOOD, PATTERN, catalogue
from vitscope.model.pipeline import Pipeline, pipeline_of
from vitscope.model.presets import FAULTS, known_names, parse_model, spec_by_name
from vitscope.model.size import size_of
from vitscope.model.specimens.faults import FAULT_EFFECTS, HYPOTHESIS

TABLE = Path(__file__).parents[2].parent / "shared" / "spec" / "pipeline.md"
JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龠]")
POLITE = re.compile(r"(です|ます|ません|ました)(（[^）]*）)?$")
KEYS = ["image", "patches", "patch_embedding", "with_class", "with_position", "final_norm", "pooled", "logits"]


def stage(number: int, **switches: Any) -> Any:
    return pipeline_of(tiny_spec(**switches)).stages[number - 1]


def all_texts(pipeline: Pipeline) -> list[Any]:
    texts = [text for s in pipeline.stages for text in (s.name, s.what, s.why)]
    return [*texts, *pipeline.notes]


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize(("name", "column"), [("vit-b16-224", 3), ("good-vit", 4)])
def test_pipeline_is_the_given_one_line_by_line(name: str, column: int, lang: Any) -> None:
    if not TABLE.exists():
        pytest.skip("../shared/spec/pipeline.md is not here")
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if re.match(r"\| \d", line)]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    expected = [(int(row[0]), row[1 if lang == "en" else 2], row[column]) for row in rows]
    assert [(s.number, s.name[lang], s.shape) for s in pipeline_of(spec_by_name(name)).stages] == expected
    assert len(expected) == 8


def test_shapes_without_the_given_table() -> None:
    shapes = [s.shape for s in pipeline_of(spec_by_name("vit-b16-224")).stages]
    assert shapes == [
        "224×224×3",
        "14×14 = 196 patches of 16×16×3 = 768 numbers",
        "196 tokens of 768",
        "197 tokens of 768",
        "197 × 768",
        "12 layers",
        "768",
        "1000",
    ]


@pytest.mark.parametrize("name", known_names())
def test_sizes_add_up_keys_are_the_traces_and_both_languages_speak(name: str) -> None:
    spec = spec_by_name(name)
    pipeline, size = pipeline_of(spec), size_of(spec)
    assert [s.key for s in pipeline.stages] == KEYS
    assert sum(s.parameters for s in pipeline.stages) == pipeline.parameters == size.parameters
    assert sum(s.flops for s in pipeline.stages) == pipeline.flops == size.flops
    for text in all_texts(pipeline):
        assert "{" not in text.en + text.ja
        assert JAPANESE.search(text.ja)
        assert not JAPANESE.search(text.en)
    assert json.loads(json.dumps(pipeline.to_dict(), ensure_ascii=False)) == pipeline.to_dict()


@pytest.mark.parametrize(
    "switches",
    [
        {"patch_embedding": kind, "position": position, "pooling": pooling, "registers": registers}
        for kind in ("linear", "conv", "conv-tokenizer")
        for position in ("learned", "sincos", "none", "rotary")
        for pooling in ("class-token", "mean")
        for registers in (0, 2)
    ],
    ids=lambda s: "-".join(str(value) for value in s.values()),
)
def test_every_combination_has_whole_sentences(switches: dict[str, Any]) -> None:
    for s in pipeline_of(tiny_spec(**switches)).stages:
        for text in (s.what, s.why):
            assert "{" not in text.en + text.ja
            assert text.en.endswith(".")
            assert text.ja.endswith("。")


@pytest.mark.parametrize("fault", FAULTS)
def test_japanese_is_polite_throughout(fault: Any) -> None:
    every_switch = {"qk_norm": True, "layer_scale": 0.1, "stochastic_depth": 0.25, "registers": 2}
    texts = [*pipeline_of(spec_by_name(f"bad-vit:{fault}")).notes, HYPOTHESIS, GOOD, BAD, PATTERN]
    for position in ("learned", "sincos", "none", "rotary"):
        for kind in ("linear", "conv", "conv-tokenizer"):
            for rest in ({"norm": "post", "pooling": "mean", **every_switch}, {"norm": "pre", **every_switch}):
                stages = pipeline_of(tiny_spec(position=position, patch_embedding=kind, **rest)).stages
                texts += [text for s in stages for text in (s.what, s.why)]
    for text in texts:
        assert text.ja.endswith("。")
        for sentence in text.ja.removesuffix("。").split("。"):
            assert POLITE.search(sentence), sentence


def test_mean_pooling_has_no_class_token() -> None:
    assert stage(4, pooling="mean").name.en == "no [CLS]"
    assert stage(4, pooling="mean").shape == "12 tokens of 16"
    assert stage(5, pooling="mean").name["ja"] == "位置埋め込みを加算"
    assert stage(7, pooling="mean").name["ja"] == "パッチトークンの平均"
    assert "[CLS]" not in stage(7, pooling="mean").name.en


def test_registers_join_behind_the_position() -> None:
    assert stage(4, registers=2).shape == "13 tokens of 16"
    assert stage(5, registers=2).shape == "15 × 16"
    assert "register" in stage(5, registers=2).what.en
    assert "レジスタトークン" in stage(5, registers=2).what.ja


@pytest.mark.parametrize(
    ("position", "words"),
    [("none", "no position"), ("rotary", "rotary"), ("sincos", "sine-cosine"), ("learned", "add position")],
)
def test_position_is_named(position: str, words: str) -> None:
    assert words in stage(5, position=position).name.en


@pytest.mark.parametrize(
    ("switches", "words"),
    [
        ({"norm": "pre"}, "before each of the two"),
        ({"norm": "post"}, "post-norm"),
        ({"qk_norm": True}, "QK-norm"),
        ({"layer_scale": 0.1}, "LayerScale"),
        ({"stochastic_depth": 0.25}, "25 %"),
        ({"position": "rotary"}, "as a rotation"),
    ],
)
def test_encoder_speaks_of_its_switches(switches: dict[str, Any], words: str) -> None:
    assert words in stage(6, **switches).what.en
    others = [s for s in ("QK-norm", "LayerScale", "stochastic", "rotation") if s not in words and s != "stochastic"]
    assert not any(word in stage(6, **switches).what.en for word in others)


def test_post_norm_ends_with_the_last_block() -> None:
    assert stage(6, norm="post").key == "block01/after_mlp"


def test_tokenizer_says_what_a_token_sees() -> None:
    switches = {"patch_embedding": "conv-tokenizer", "image_size": 16}
    assert stage(2, **switches).shape == "8×8 = 64 overlapping patches of 5×5×3"
    assert stage(2, **switches, tokenizer_layers=2).shape == "4×4 = 16 overlapping patches of 13×13×3"
    assert "unchanged" not in stage(5, **switches, position="none").why.en
    assert "unchanged" in stage(5, position="none").why.en


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_vit_says_that_it_is_what_the_print_shows_and_what_the_fault_changes(fault: Any) -> None:
    notes = pipeline_of(spec_by_name(f"bad-vit:{fault}")).notes
    assert "prints as" in notes[0].en
    assert FAULT_EFFECTS[fault].en in notes[1].en
    assert FAULT_EFFECTS[fault].ja in notes[1].ja
    assert (HYPOTHESIS in notes) is (fault != "none")


def test_catalogue_lists_specimens_faults_and_presets_with_sizes() -> None:
    entries = {entry.name: entry for entry in catalogue()}
    assert {"good-vit", "bad-vit", "vit-b16-224", *(f"bad-vit:{fault}" for fault in FAULTS)} <= set(entries)
    assert len(entries) == len(catalogue())
    assert {*entries, *(alias for entry in entries.values() for alias in entry.aliases)} == set(known_names())
    assert entries["vit-b16-224"].parameters == 86_567_656
    assert entries["vit-b16-224"].aliases == ("vit-base",)
    assert "ViT-Huge" in entries["vit-h14-224"].summary.ja
    for entry in entries.values():
        assert entry.to_dict()["parameters"] == size_of(parse_model({"name": entry.name})).parameters


@pytest.mark.parametrize("name", ["bad-vit", "bad-vit:batch-mixing"])
def test_catalogue_says_that_the_default_is_a_hypothesis(name: str) -> None:
    entry = next(entry for entry in catalogue() if entry.name == name)
    assert "hypothesis" in entry.summary.en
    assert "cannot decide" in entry.summary.en
    assert "仮説" in entry.summary.ja


def test_words_and_sizes_need_no_torch() -> None:
    code = "import sys, vitscope.model.pipeline, vitscope.model.catalogue as c; c.catalogue(); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"
