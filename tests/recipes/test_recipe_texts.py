"""Recipes as text: what is built in, how they are changed, and the sentence for every kind of mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from vitscope._core.errors import ConfigError, ModelError, VitscopeError
from vitscope.data import SourceFacts
from vitscope.recipes.load import (
    apply_change,
    dump_recipe,
    identity,
    load_recipe,
    model_spec,
    parse_recipe,
    recipe_names,
    resolve,
    spec_of_file,
    with_normalisation,
)
from vitscope.train.duration import Duration

NAMES = recipe_names()
SOURCES = str(Path(__file__).parents[2] / "src")


def facts(classes: int = 10, channels: int = 3, name: str = "cifar10") -> SourceFacts:
    size = (8, 8) if name == "digits" else (32, 32)
    return SourceFacts(name, tuple(map(str, range(classes))), channels, size, {"train": 100, "test": 20})


def own(folder: Path, text: str = "model: {image_size: 8, patch_size: 2}\ndata: {source: digits}\n") -> str:
    file = folder / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    return str(file)


def refusal(name: str = "quickstart", *changes: str, source: str | None = None) -> str:
    with pytest.raises(VitscopeError) as error:
        load_recipe(name, changes=changes, source=source)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_recipes_of_the_contract_are_there() -> None:
    assert NAMES[0] == "quickstart"
    assert {"reference-cifar10", "good-vit-cifar10", "bad-vit-cifar10"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_loads_resolves_and_survives_yaml(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.summary.en
    assert recipe.summary.ja
    digits = recipe.data.source == "digits"
    resolved = resolve(recipe, facts(name=recipe.data.source, channels=1 if digits else 3))
    spec = model_spec(resolved)
    assert (spec.classes, spec.channels) == (10, 1 if digits else 3)
    full = with_normalisation(resolved, (0.5,) * spec.channels, (0.2,) * spec.channels)
    for one in (recipe, resolved, full):
        assert parse_recipe(dump_recipe(one), "recipe.yaml") == one
    assert resolve(full, facts(name=recipe.data.source, channels=spec.channels)) == full
    assert identity(parse_recipe(dump_recipe(full), ""), "key") == identity(full, "key")


@pytest.mark.parametrize("name", NAMES)
def test_what_a_recipe_reached_says_where_that_was_measured(name: str) -> None:
    for expect in load_recipe(name).expect:
        assert 0 < expect.val_acc <= 100  # bad-vit stays at chance
        assert expect.data
        assert expect.hardware
        assert expect.record
        assert (expect.seeds > 1) == (expect.spread is not None)
        if expect.measured_here:
            assert (Path(__file__).parents[2] / expect.record).exists(), expect.record
            assert expect.date


def test_both_specimens_have_one_recipe() -> None:
    good, bad = load_recipe("good-vit-cifar10"), load_recipe("bad-vit-cifar10")
    for part in ("data", "augment", "train", "normalise", "reference"):
        assert getattr(good, part) == getattr(bad, part)
    assert str(good.train.duration) == "10ep"
    assert model_spec(load_recipe("bad-vit-cifar10", changes=["model.fault=post-norm"])).fault == "post-norm"  # type: ignore[union-attr]


def test_the_published_recipe_is_the_published_one() -> None:
    recipe = load_recipe("reference-cifar10")
    spec: Any = model_spec(recipe)
    assert (spec.init, spec.dim, spec.depth, spec.heads, spec.mlp_dim) == ("published", 512, 6, 8, 512)
    assert recipe.augment.rand_augment is not None
    assert recipe.augment.rand_augment.table == "published"
    train = recipe.train
    assert (train.optimizer, train.lr, train.batch_size, str(train.duration)) == ("adam", 1e-4, 512, "200ep")
    assert (train.schedule, train.schedule_unit, train.weight_decay) == ("cosine", "epoch", 0.0)


def test_recipes_load_no_torch() -> None:
    program = (
        f"import sys; sys.path.insert(0, {SOURCES!r})\n"
        "from vitscope.recipes.load import load_recipe, recipe_names\n"
        "[load_recipe(name) for name in recipe_names()]\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("change", "place", "value"),
    [
        ("train.lr=0.001", "train.lr", 0.001),
        ("train.lr=1e-3", "train.lr", 0.001),
        ("train.duration=3ep", "train.duration", Duration(3.0, "ep")),
        ("train.ema=null", "train.ema", None),
        ("train.ema=", "train.ema", None),
        ("train.betas=[0.8, 0.9]", "train.betas", (0.8, 0.9)),
        ("train.trackers=[tensorboard]", "train.trackers", ("tensorboard",)),
        ("data.skip_corrupt=true", "data.skip_corrupt", True),
        ("augment.rand_augment={n: 1, m: 5}", "augment.rand_augment.m", 5),
        ("augment.rand_augment.m=3", "augment.rand_augment.m", 3),
        (" train.seed = 7", "train.seed", 7),
        ("summary.en=a=b", "summary.en", "a=b"),
        ("data.source=digits", "data.source", "digits"),
    ],
)
def test_set_takes_yaml_values(change: str, place: str, value: object) -> None:
    found: Any = load_recipe("quickstart", changes=[change])
    for part in place.split("."):
        found = getattr(found, part)
    assert found == value


def test_later_changes_win_and_model_keys_are_free() -> None:
    recipe = load_recipe("quickstart", changes=["train.lr=1", "train.lr=2", "model.dim=32", "model.heads=2"])
    assert recipe.train.lr == 2
    assert (recipe.model["dim"], recipe.model["heads"]) == (32, 2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("train.learning_rat=1", "unknown key 'train.learning_rat'"),
        ("train.warmpu=1ep", "unknown key 'train.warmpu' (did you mean 'warmup'?)"),
        ("trian.lr=1", "unknown key 'trian' (did you mean 'train'?)"),
        ("model.pach_size=4", "unknown key 'model.pach_size' (did you mean 'patch_size'?)"),
        ("data.sorce=digits", "unknown key 'data.sorce' (did you mean 'source'?)"),
        ("augment.flpi=true", "unknown key 'augment.flpi' (did you mean 'flip'?)"),
        ("augment.rand_augment.mm=3", "unknown key 'augment.rand_augment.mm'"),
        ("train.lr=-0.1", "train.lr is -0.1, expected a number greater than 0"),
        ("train.lr=fast", "train.lr is 'fast', expected a number"),
        (
            "model.patch_size=3",
            "model: image_size 8×8 does not divide into patches of 3×3; the nearest image_size that does is 9×9",
        ),
        ("model.heads=5", "model: dim 96 does not divide among 5 heads; choose heads that divide it"),
        ("train.lr", "--set 'train.lr' is not of the form KEY=VALUE; write for example --set train.lr=0.001"),
        ("=1", "--set '=1' is not of the form KEY=VALUE; write for example --set train.lr=0.001"),
        ("train..lr=1", "--set 'train..lr=1' is not of the form KEY=VALUE; write for example --set train.lr=0.001"),
        (
            "train.betas=[1",
            "--set train.betas: '[1' is not a YAML value (expected ',' or ']', but got '<stream end>'); mend it or put quotes around it",
        ),
        ("train.batch_size=yes", "train.batch_size is true, expected a number"),
        (
            "train={lr: 1, lr: 2}",
            "--set train: '{lr: 1, lr: 2}' is not a YAML value ('lr' stands at line 1 already); mend it or put quotes around it",
        ),
        ("train=3", "train is 3, expected settings such as {duration: …}"),
        ("1=1", "unknown key '1'"),
        ("train.lr.x=1", "--set train.lr.x: 'lr' is 0.006 and holds no keys; set it as a whole"),
    ],
)
def test_wrong_changes_are_refused(change: str, sentence: str) -> None:
    message = refusal("quickstart", change)
    assert message.startswith(sentence)
    if "did you mean" in sentence or sentence.startswith(("--set", "model:", "train.lr")):
        assert message == sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "model: {imag_size: 8}\ndata: {source: digits}\n",
            "unknown key 'model.imag_size' (did you mean 'image_size'?)",
        ),
        ("modl: {name: vit-ti4-32}\ndata: {source: digits}\n", "unknown key 'modl' (did you mean 'model'?)"),
        ("data: {source: digits}\n", "'model' is missing and has no default; give it a value"),
        (
            "model: {name: vit-ti4-32}\ndata: {source: digits}\ntrain: {lr: -1}\n",
            "train.lr is -1, expected a number greater than 0",
        ),
        (
            "model: {name: vit-ti4-32}\ndata: {source: digits}\ntrian: {}\n",
            "unknown key 'trian' (did you mean 'train'?)",
        ),
        ("model: {name: vit-ti4-32}\n", "'data' is missing and has no default; give it a value"),
        (
            "model: vit-ti4-32\ndata: {source: digits}\n",
            "model is 'vit-ti4-32', expected settings; write model: {name: vit-ti4-32}",
        ),
        ("model: {name: vit-ti4-33}\ndata: {source: digits}\n", "the nearest that does is vit-ti4-32"),
        ("model: {name: 7}\ndata: {source: digits}\n", "model.name is 7, expected the name of a built-in model"),
        (
            "model: {name: good-vti}\ndata: {source: digits}\n",
            "no built-in model 'good-vti' (did you mean 'good-vit'?)",
        ),
        ("model: {name: vit-ti4-32}\ndata: digits\n", "data is 'digits', expected settings such as {source: …}"),
        (
            "model: {name: vit-ti4-32}\ndata: {source: digits}\ntrain:\n  lr: 0.001\n  seed: 1\n  lr: 0.5\n",
            "mine.yaml is not valid YAML at line 6 ('lr' stands at line 4 already); mend the file",
        ),
        ("model: {}\n'model': {}\n", "at line 2 ('model' stands at line 1 already)"),
        ("1: 1\n", "mine.yaml has the key 1, expected words such as model, data, train"),
        ("only words\n", "mine.yaml holds text, expected keys such as"),
        ("model: [1\n", "mine.yaml is not valid YAML at line "),
        ("- 1\n", "mine.yaml holds a list, expected keys such as model:, data:, train:"),
        ("", "mine.yaml holds nothing, expected keys such as model:, data:, train:"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, text: str, words: str) -> None:
    assert words in refusal(own(tmp_path, text))


def test_with_other_data_a_wrong_file_is_refused_too(tmp_path: Path) -> None:
    file = own(tmp_path, "model: {name: vit-ti4-32}\ndata: digits\n")
    assert refusal(file, source="cifar10").startswith(f"{file}: data is 'digits',")


def test_wrong_names_are_refused(tmp_path: Path) -> None:
    assert refusal("quikstart") == (
        "no recipe 'quikstart' (did you mean 'quickstart'?); a recipe of your own is a file that ends in .yaml"
    )
    assert refusal("zzz") == (
        f"no recipe 'zzz'; built in are: {', '.join(NAMES)}; a recipe of your own is a file that ends in .yaml"
    )
    missing = tmp_path / "no.yaml"
    assert refusal(str(missing)) == f"{missing} does not exist; give a YAML file or one of: {', '.join(NAMES)}"
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    assert refusal(str(tmp_path / "bytes.yaml")).endswith("give a YAML file in UTF-8")
    (tmp_path / "folder.yaml").mkdir()
    assert refusal(str(tmp_path / "folder.yaml")).startswith(f"cannot read {tmp_path / 'folder.yaml'} (")


def test_a_file_of_ones_own_is_named_after_itself(tmp_path: Path) -> None:
    recipe = load_recipe(own(tmp_path))
    assert recipe.name == "mine"
    assert str(recipe.train.duration) == "10ep"
    assert load_recipe(own(tmp_path, "name: 別名\nmodel: {name: vit-ti4-32}\ndata: {source: digits}\n")).name == "別名"


def test_other_data_drop_what_only_fits_the_old(tmp_path: Path) -> None:
    text = "model: {name: vit-ti4-32}\ndata: {source: cifar10, archive: a.tar.gz, limit: 5, resize: squash}\n"
    recipe = load_recipe(own(tmp_path, text), source="digits")
    assert (recipe.data.source, recipe.data.archive, recipe.data.limit, recipe.data.resize) == (
        "digits",
        None,
        5,
        "squash",
    )
    assert load_recipe(own(tmp_path, text), source="cifar10").data.archive == "a.tar.gz"


def test_a_merged_key_may_be_replaced(tmp_path: Path) -> None:
    text = "model: &small {name: vit-ti4-32, depth: 2}\nsummary: {<<: {en: a, ja: b}, en: c}\ndata: {source: digits}\n"
    assert load_recipe(own(tmp_path, text)).summary.to_dict() == {"en": "c", "ja": "b"}


def test_two_sources_are_a_contradiction(tmp_path: Path) -> None:
    sentence = "--data says 'd/three', but --set makes data.source 'photos'; drop one of the two"
    for change in ("data.source=photos", "data={source: photos}"):
        assert refusal(own(tmp_path), change, source="d/three") == sentence
    assert load_recipe(own(tmp_path), changes=["data.source=cifar10"], source="cifar10").data.source == "cifar10"


def test_other_classes_than_the_datas_are_refused() -> None:
    recipe = load_recipe("quickstart", changes=["model.classes=3"])
    with pytest.raises(ConfigError) as error:
        resolve(recipe, facts(10, 1, "digits"))
    assert str(error.value) == (
        "model.classes is 3, but digits has 10 classes; leave model.classes out or choose other data"
    )


def test_identity_holds_what_decides_and_nothing_else() -> None:
    def of(*changes: str, key: str = "images") -> str:
        recipe = resolve(load_recipe("quickstart", changes=changes), facts(10, 1, "digits"))
        return identity(recipe, key)

    same = of()
    for change in (
        "train.trackers=[tensorboard]",
        "train.checkpoint_every=3st",
        "train.eval_batch_size=7",
        "name=other",
        "summary.en=other",
        "reference=null",
        "data.source=digits",
    ):
        assert of(change) == same, change
    for change in (
        "train.lr=0.5",
        "train.seed=1",
        "train.duration=7ep",
        "train.precision=bf16",
        "model.depth=3",
        "augment.flip=true",
        "normalise={mean: [0.5], std: [0.5]}",
    ):
        assert of(change) != same, change
    assert of(key="other images") != same


def test_runs_of_earlier_versions_are_the_trainings_that_they_were() -> None:
    """Whoever adds a setting enters it in `_CAME_LATER`; whoever changes a default makes other trainings, and writes the new digest here."""
    recipe = load_recipe("quickstart", changes=["model={image_size: 8, patch_size: 4}", "train={}", "augment={}"])
    same = identity(resolve(recipe, facts(10, 1, "digits")), "images")
    assert same["recipe"] == "56eac1841657ec42f2623c7a031bdcdc845450797583ac19a28dcb22cb7e1b68"
    on = recipe.changed(model={**recipe.model, "patch_dropout": 0.5})
    assert identity(resolve(on, facts(10, 1, "digits")), "images") != same


def test_a_channel_that_never_varies_is_not_divided_by_nothing() -> None:
    recipe = with_normalisation(load_recipe("quickstart"), (0.0, 0.5), (0.0, 0.25))
    assert recipe.normalise is not None
    assert recipe.normalise.std == (1.0, 0.25)


def test_the_model_of_a_file(tmp_path: Path) -> None:
    assert spec_of_file(Path(own(tmp_path))).patch_size == (2, 2)
    assert spec_of_file(Path(own(tmp_path, "image_size: 8\npatch_size: 4\n"))).patch_size == (4, 4)
    assert spec_of_file(Path(own(tmp_path, "name: good-vit\n"))).dim == 192
    with pytest.raises(ConfigError, match=r"model is 'vit', expected settings; write model: \{name: vit-ti4-32\}"):
        spec_of_file(Path(own(tmp_path, "model: vit\n")))
    for text, sentence in (
        ("modl: {name: vit-ti4-32}\ndata: {source: digits}\n", "unknown key 'modl' (did you mean 'model'?)"),
        ("imag_size: 8\n", "unknown key 'imag_size' (did you mean 'image_size'?)"),
        ("model: {imag_size: 8}\n", "unknown key 'model.imag_size' (did you mean 'image_size'?)"),
        (
            "name: bad-vit:none\nfault: post-norm\n",
            "fault is 'post-norm', but the name says 'bad-vit:none'; drop one of the two",
        ),
    ):
        file = own(tmp_path, text)
        with pytest.raises(ConfigError) as refused:
            spec_of_file(Path(file))
        assert str(refused.value) == f"{file}: {sentence}"
    with pytest.raises(ConfigError, match=r"at line 3 \('dim' stands at line 1 already\)"):
        spec_of_file(Path(own(tmp_path, "dim: 64\nheads: 2\ndim: 32\n")))
    with pytest.raises(ModelError, match=r"mine\.yaml: no built-in model 'vit'"):
        spec_of_file(Path(own(tmp_path, "name: vit\n")))


def test_a_mistake_is_laid_to_whoever_made_it(tmp_path: Path) -> None:
    good = own(tmp_path)
    assert refusal(good, "train.lrr=1").startswith("unknown key 'train.lrr'")
    bad = own(tmp_path, "model: {imag_size: 8}\ndata: {source: digits}\n")
    assert refusal(bad).startswith(f"{bad}: unknown key 'model.imag_size'")
    assert refusal(bad, "train.lrr=1").startswith("unknown key 'train.lrr'")
    with pytest.raises(ConfigError, match=r"^run/recipe.yaml: unknown key 'trian' \(did you mean 'train'\?\)$"):
        parse_recipe("model: {}\ndata: {source: digits}\ntrian: {}\n", "run/recipe.yaml")


def test_changes_make_the_parts_that_are_not_there() -> None:
    values: dict[str, Any] = {"model": {"name": "good-vit"}, "train": None}
    for change in ("train.lr=1", "a.b.c=[1]", "model.name=bad-vit"):
        apply_change(values, change)
    assert values == {"model": {"name": "bad-vit"}, "train": {"lr": 1}, "a": {"b": {"c": [1]}}}


def test_a_dumped_recipe_is_complete_and_readable() -> None:
    text = dump_recipe(load_recipe("quickstart"))
    assert "数字" in text
    held = yaml.safe_load(text)
    assert held["train"]["betas"] == [0.9, 0.999]
    assert held["train"]["duration"] == "80ep"
    assert not text.startswith("{")


def test_a_file_named_like_a_model_is_still_read(tmp_path: Path) -> None:
    file = tmp_path / "good-vit.yaml"
    file.write_text("name: good-vit\n")
    assert (spec_of_file(file).dim, type(spec_of_file(file)).__name__) == (192, "GoodViTSpec")
    file.write_text("{}\n")
    with pytest.raises(ConfigError, match=r"good-vit.yaml holds nothing, expected model settings"):
        spec_of_file(file)


def test_classes_and_channels_follow_data_that_are_known(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model: {image_size: 8, patch_size: 2}\ndata: {source: digits}\n")
    assert (spec_of_file(file).classes, spec_of_file(file).channels) == (10, 1)
    file.write_text("model: {image_size: 8, patch_size: 2, classes: 3}\ndata: {source: digits}\n")
    assert spec_of_file(file).classes == 3
