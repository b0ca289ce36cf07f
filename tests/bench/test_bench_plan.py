"""What is measured and in which order; what is predicted too large; words that name nothing."""

from __future__ import annotations

from typing import Any

import pytest

from vitscope._core.errors import UsageError
from vitscope.bench.limits import products_of, step_flops
from vitscope.bench.plan import MODELS, OURS, PEERS, Cell, care_of, make_plan
from vitscope.bench.predict import Predictor, fit_together, too_large
from vitscope.model.size import size_of


def test_the_specimen_is_the_printed_size() -> None:
    spec = MODELS["specimen"]
    assert (spec.image_size, spec.patch_size, spec.dim, spec.depth, spec.heads) == ((32, 32), (4, 4), 192, 6, 3)
    assert (spec.mlp_width, spec.classes, spec.pooling, spec.position, spec.norm) == (
        512,
        10,
        "class-token",
        "learned",
        "pre",
    )
    assert {spec.dropout_at(place) for place in ("embedding", "projection", "mlp")} == {0.0}
    base = MODELS["vit-b16-224"]
    assert size_of(base).parameters == 86_567_656  # published for ViT-B/16 with 1000 classes
    assert {name: size_of(spec).flops for name, spec in MODELS.items()} == {
        "specimen": 289_022_208, "vit-s16-224": 9_197_764_608, "vit-b16-224": 35_127_656_448,
    }  # fmt: skip


def test_the_default_plan_holds_what_the_issue_names_with_the_headline_first() -> None:
    plan = make_plan()
    assert plan.libraries == (OURS, *PEERS)
    assert [b.headline for b in plan.blocks[:9]] == [True] * 8 + [False]
    head = [
        ("specimen", 128, "train"),
        ("specimen", 128, "inference"),
        ("vit-b16-224", 8, "train"),
        ("vit-b16-224", 8, "inference"),
    ]
    assert [(b.model, b.batch, b.mode, b.precision) for b in plan.blocks[:8]] == [
        (*one, precision) for one in head for precision in ("bf16", "fp32")
    ]
    eager = [(b.model, b.batch) for b in plan.blocks if not b.compiled]
    pairs = {("specimen", n) for n in (1, 32, 128, 512)} | {("vit-b16-224", n) for n in (1, 8)}
    assert set(eager) == pairs
    assert {(b.model, b.batch) for b in plan.blocks if b.compiled} == {("specimen", 128)}
    cells = [cell for block in plan.blocks for cell in block.cells]
    assert len(cells) == len(set(cells)) == (6 + 1) * 2 * 2 * 5
    assert plan.minutes < 10


def test_full_adds_a_model_batches_and_compiles_everything() -> None:
    default, full = make_plan(), make_plan(full=True)
    cells = {cell for block in full.blocks for cell in block.cells}
    assert {cell for block in default.blocks for cell in block.cells} < cells
    assert any(cell.model == "vit-s16-224" for cell in cells)
    assert {(c.model, c.batch) for c in cells if c.compiled} == {(c.model, c.batch) for c in cells}


def test_what_somebody_chose_is_a_headline() -> None:
    assert {(b.batch, b.headline) for b in make_plan(batches="4,128").blocks if b.model == "specimen" and not b.compiled} == {
        (4, False), (128, True),
    }  # fmt: skip
    assert all(b.headline for b in make_plan(models="vit-s16-224", batches="4,2").blocks)


def test_care_goes_to_what_counts_most() -> None:
    head, slow, compiled, rest, rest_slow = (make_plan().blocks[i] for i in (0, 1, 8, 10, 18))
    assert [care_of(block, "bf16", 5).rounds for block in (head, slow, compiled, rest, rest_slow)] == [5, 2, 2, 2, 1]
    assert [care_of(block, "fp32", 5).rounds for block in (head, slow)] == [2, 5]
    assert {care_of(block, "bf16", 1).rounds for block in make_plan().blocks} == {1}


def test_words_choose() -> None:
    plan = make_plan("timm, os.path:join", "vit-s16-224", batches="4,2,4", rounds=1)
    assert plan.libraries == (OURS, "timm", "os.path:join")
    assert {(b.model, b.batch) for b in plan.blocks} == {("vit-s16-224", 4), ("vit-s16-224", 2)}
    assert make_plan("none").libraries == (OURS,)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"peers": "tim"}, "no peer 'tim' to measure (did you mean 'timm'?); there are: vit-pytorch, timm, transformers, torchvision, none"),
        ({"peers": "none,timm"}, "--peers none stands alone"),
        ({"peers": " , "}, "--peers names nothing"),
        ({"models": "specimn"}, "no model 'specimn' to measure (did you mean 'specimen'?)"),
        ({"batches": "0"}, "--batches holds '0', expected whole numbers from 1 to 65536"),
        ({"batches": "1,x"}, "--batches holds 'x'"),
        ({"batches": ""}, "--batches names no number"),
        ({"rounds": 0}, "--rounds is 0, expected a number from 1 to 1000"),
        ({"minutes": float("nan")}, "--minutes is nan"),
        ({"minutes": 0}, "--minutes is 0"),
        ({"threads": 0}, "--threads is 0"),
    ],
)  # fmt: skip
def test_words_that_do_not_fit_get_one_sentence(words: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        make_plan(**words)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("model", list(MODELS))
def test_the_products_add_up_to_the_models_flops(model: str) -> None:
    spec = MODELS[model]
    for mode in ("inference", "train"):
        flops = sum(product.flops for product in products_of(spec, 3, mode))
        assert flops == step_flops(size_of(spec).flops, 3, mode)
    assert step_flops(100, 2, "train") == 600


def cell(batch: int = 8, **changes: Any) -> Cell:
    return Cell(
        **{
            "model": "vit-b16-224",
            "library": "timm",
            "mode": "train",
            "precision": "fp32",
            "compiled": False,
            "batch": batch,
            **changes,
        }
    )


def test_memory_predicted_too_large_is_told_with_both_numbers() -> None:
    spec = MODELS["vit-b16-224"]
    assert too_large(cell(), spec, None) is None
    assert too_large(cell(), spec, 64 * 2**30) is None
    why = too_large(cell(512), spec, 16 * 2**30)
    assert why is not None
    assert why.en.endswith("GiB of memory, and 16.0 GiB are free")
    assert too_large(cell(512, mode="inference"), spec, 64 * 2**30) is None


def test_models_of_a_block_are_held_where_all_of_them_and_a_step_fit() -> None:
    spec, cells = MODELS["vit-b16-224"], [cell(library=library) for library in (OURS, *PEERS)]
    assert fit_together(cells, spec, None)
    assert fit_together(cells, spec, 24 * 2**30)
    assert not fit_together(cells, spec, 8 * 2**30)


def test_time_is_flops_over_a_rate_and_then_what_was_measured() -> None:
    spec = MODELS["vit-b16-224"]
    predictor = Predictor({"fp32": 1e11, "bf16": 4e11}, copy=1e10)
    first = predictor.seconds(cell(), spec)
    assert first == pytest.approx(3 * 8 * 35_127_656_448 / 4e10 + 12 * 3 * 0.0004 + 86_567_656 * 28 / 1e10)
    predictor.learn(cell(library="vitscope"), 2.0)
    assert predictor.seconds(cell(), spec) == 2.0  # another library's, for want of its own
    predictor.learn(cell(), 4.0)
    assert predictor.seconds(cell(), spec) == 4.0
    assert predictor.seconds(cell(16), spec) == 8.0
    assert predictor.seconds(cell(4), spec) == pytest.approx(4 * 0.55)  # a part does not shrink with the batch
    assert predictor.seconds(cell(precision="bf16"), spec) == pytest.approx(first, rel=0.8)
    assert predictor.compile_seconds(cell(), spec) == 0
    assert predictor.compile_seconds(cell(compiled=True), spec) == 60
    predictor.learn_compiling(cell(compiled=True), 12.0)
    assert predictor.compile_seconds(cell(compiled=True), spec) == 12
