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
from vitscope.model.size import STAGES, size_of
from vitscope.model.specimens.faults import FAULT_EFFECTS, FAULT_STAGES, HYPOTHESIS

TABLE = Path(__file__).parents[2].parent / "shared" / "spec" / "pipeline.md"
JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龠]")
POLITE = re.compile(r"(です|ます|ません|ました)(（[^）]*）)?$")


def stage(number: int, **switches: Any) -> Any:
    return pipeline_of(tiny_spec(**switches)).stages[number - 1]


def all_texts(pipeline: Pipeline) -> list[Any]:
    texts = [text for s in pipeline.stages for text in (s.name, s.what, s.why)]
    texts += [text for s in pipeline.stages for note in s.notes for text in (note.mark, note.text)]
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
def test_sizes_add_up_stages_have_one_list_of_names_and_both_languages_speak(name: str) -> None:
    spec = spec_by_name(name)
    pipeline, size = pipeline_of(spec), size_of(spec)
    assert tuple(s.key for s in pipeline.stages) == tuple(size.parameters_by_stage) == STAGES
    assert {s.key: s.flops for s in pipeline.stages} == size.flops_by_stage
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
    bad = pipeline_of(spec_by_name(f"bad-vit:{fault}"), follow_data=("channels", "classes"))
    texts = [*bad.notes, *(note.text for s in bad.stages for note in s.notes), HYPOTHESIS, GOOD, BAD, PATTERN]
    for position in ("learned", "sincos", "none", "rotary"):
        for kind in ("linear", "conv", "conv-tokenizer"):
            for rest in ({"norm": "post", "pooling": "mean", **every_switch}, {"norm": "pre", **every_switch}):
                dropped = {} if position == "rotary" else {"patch_dropout": 0.25}
                stages = pipeline_of(tiny_spec(position=position, patch_embedding=kind, **rest, **dropped)).stages
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
        ({"patch_dropout": 0.25}, "only 9 of the 12 patches of each image"),
        ({"position": "rotary"}, "as a rotation"),
    ],
)
def test_encoder_speaks_of_its_switches(switches: dict[str, Any], words: str) -> None:
    assert words in stage(6, **switches).what.en
    others = [s for s in ("QK-norm", "LayerScale", "stochastic", "rotation") if s not in words and s != "stochastic"]
    assert not any(word in stage(6, **switches).what.en for word in others)


def test_tokenizer_says_what_a_token_sees() -> None:
    switches = {"patch_embedding": "conv-tokenizer", "image_size": 16}
    assert stage(2, **switches).shape == "8×8 = 64 overlapping patches of 5×5×3"
    assert stage(2, **switches, tokenizer_layers=2).shape == "4×4 = 16 overlapping patches of 13×13×3"
    assert "unchanged" not in stage(5, **switches, position="none").why.en
    assert "unchanged" in stage(5, position="none").why.en


def test_convolutions_that_overlap_know_part_of_the_layout() -> None:
    for position in ("learned", "sincos", "rotary", "none"):
        told = stage(5, position=position, patch_embedding="conv-tokenizer", image_size=16)
        assert "ignored altogether" not in told.why.en
        assert "一切考慮されません" not in told.why.ja
        assert "overlapping convolutions" in told.why.en
        assert "no trace" not in told.what.en
    assert "ignored altogether" in stage(5).why.en


def test_why_patches_follows_from_the_numbers_shown() -> None:
    """Digits: 16 patches of an image of 8×8 pixels; neither is beyond anybody's means."""
    why = stage(2, image_size=8, patch_size=2, channels=1).why
    assert "16 patches make 16 × 16 = 256 comparisons" in why.en
    assert "64 pixels would make 4,096" in why.en
    assert "16個のパッチなら16×16＝256回" in why.ja
    assert "64個の画素を1つずつトークンにすると4,096回" in why.ja


def test_one_head_is_not_spoken_of_as_several() -> None:
    assert "(1 head of 16)" in stage(6, heads=1).what.en
    assert "(2 heads of 8)" in stage(6, heads=2).what.en


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_vit_says_that_it_is_what_the_print_shows_and_what_the_fault_changes(fault: Any) -> None:
    notes = pipeline_of(spec_by_name(f"bad-vit:{fault}")).notes
    assert "prints as" in notes[0].en
    assert notes[1] == (FAULT_EFFECTS["none"] if fault == "none" else HYPOTHESIS)
    assert len(notes) == 2


@pytest.mark.parametrize(
    ("stages", "faults"),
    [
        ((), ["none"]),
        ((3,), ["scrambled-patches"]),
        ((5,), ["no-position", "position-frozen-zero"]),
        ((6,), ["batch-mixing", "no-residual", "post-norm", "norm-unused", "mlp-without-activation", "double-dropout"]),
        ((5, 6), ["dropout-always-on"]),
        ((6, 7), ["batch-mixing-mean"]),
        ((7,), ["cls-detached"]),
        ((8,), ["softmax-head"]),
    ],
)  # fmt: skip
def test_a_fault_is_told_at_the_stage_where_it_acts(stages: tuple[int, ...], faults: list[Any]) -> None:
    for fault in faults:
        pipeline = pipeline_of(spec_by_name(f"bad-vit:{fault}"))
        assert tuple(s.number for s in pipeline.stages if s.notes) == stages
        for s in pipeline.stages:
            for note, told in zip(s.notes, s.to_dict()["notes"], strict=True):
                for lang in LANGS:
                    assert fault in note.mark[lang]
                    assert FAULT_EFFECTS[fault][lang] in note.text[lang]
                assert told == {"mark": note.mark.to_dict(), "text": note.text.to_dict()}


def test_every_fault_has_its_stages() -> None:
    assert tuple(FAULT_STAGES) == FAULTS
    assert {stage for stages in FAULT_STAGES.values() for stage in stages} <= set(STAGES)


def test_what_follows_the_data_is_no_fact() -> None:
    spec = spec_by_name("vit-b16-224")
    pipeline = pipeline_of(spec, follow_data=("channels", "classes"))
    assert [s.number for s in pipeline.stages if s.notes] == [1, 8]
    assert "3 is assumed" in pipeline.stages[0].notes[0].text.en
    assert "仮に3" in pipeline.stages[0].notes[0].text.ja
    assert "1000 is assumed" in pipeline.stages[7].notes[0].text.en
    assert "仮に1000" in pipeline.stages[7].notes[0].text.ja
    assert pipeline.to_dict()["follow_data"] == ["channels", "classes"]
    assert pipeline_of(spec).to_dict()["follow_data"] == []
    assert not any(s.notes for s in pipeline_of(spec).stages)


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
