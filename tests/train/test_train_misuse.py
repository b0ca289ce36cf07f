"""What `fit` and `create_model` say when they are given what they cannot take: one sentence, from the tree of errors."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from train_samples import CLASSES, loader, noisy, numbers, pixels, small_vit, spec_of, train, val_loader

import vitscope
from vitscope._core.errors import ConfigError, DataError, ModelError, RunError
from vitscope.runs import RunFolder
from vitscope.train.fit import fit

unchecked_fit = inspect.unwrap(fit)  # without the annotations' own check, which only tests have


def images(labels: torch.Tensor | None = None, count: int = 8) -> DataLoader[Any]:
    parts = [torch.rand(count, 1, 8, 8), *([] if labels is None else [labels])]
    return DataLoader(TensorDataset(*parts), batch_size=4)


class Loader:
    """Any loader: the tests' own check of annotations does not look into it."""

    def __init__(self, *batches: Any) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def in_a_folder(folder: Any, *, resume: bool = False, **settings: Any) -> Any:
    spec = spec_of(**settings)
    return fit(small_vit(), loader(spec), spec, augment=noisy, prepare=pixels, val_batches=val_loader(), folder=folder, resume=resume)  # fmt: skip


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_becomes_a_run_folder(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "new" / "run"
    result = in_a_folder(kind(path))
    assert numbers(result) == numbers(train()[1])
    folder = RunFolder.open(path)
    assert folder.status() == "finished"
    assert folder.weights.exists()
    assert numbers(in_a_folder(kind(path), resume=True)) == numbers(result)
    with pytest.raises(RunError, match=r"already holds a run \(finished, 3 epochs\)"):
        in_a_folder(kind(path))
    with folder.lock(), pytest.raises(RunError):
        in_a_folder(kind(path), resume=True)


def test_of_several_processes_the_first_makes_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vitscope.train.fit import _held

    monkeypatch.setenv("RANK", "1")
    with _held(tmp_path / "run", False) as folder:
        assert folder == RunFolder(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("model", "spec", "kind", "sentence"),
    [
        (small_vit(), "1ep", ConfigError, "fit was given the spec '1ep', expected a TrainSpec, e.g. TrainSpec(duration='10ep')"),
        ("vit-ti4-32", None, ModelError, "fit was given the model 'vit-ti4-32', expected a torch module such as create_model makes"),
        (
            small_vit().requires_grad_(False),
            None,
            ModelError,
            "no parameter of the model can be trained; set requires_grad on those that should learn",
        ),
    ],
)  # fmt: skip
def test_what_is_no_spec_or_cannot_learn(model: Any, spec: Any, kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind) as error:
        unchecked_fit(model, [], spec)
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("batches", "what"),
    [
        (images(), "a list of 1"),
        (Loader(torch.rand(2, 1, 8, 8)), "a Tensor"),
        (Loader({"pixel_values": torch.rand(2, 1, 8, 8), "labels": torch.zeros(2).long()}), "a dict of 2"),
        (Loader((torch.rand(2, 1, 8, 8), [0, 1])), "a tuple of 2"),
    ],
)
def test_batches_that_are_no_pair(batches: Any, what: str) -> None:
    sentence = f"a batch is {what}, expected a pair of tensors: images (B C H W) and their labels (B)"
    labelled = images(torch.zeros(8).long())
    for given in ({"train_batches": batches}, {"train_batches": labelled, "val_batches": batches}):
        with pytest.raises(DataError) as error:
            unchecked_fit(small_vit(), spec=spec_of(duration="1ep"), **given)
        assert str(error.value) == sentence


@pytest.mark.parametrize("label", [CLASSES, -1])
def test_a_label_without_a_score(label: int) -> None:
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2, label])  # in the second batch
    sentence = (
        f"an image has the label {label}, but the model gives 4 scores; "
        "number the labels from 0 to 3, or build the model with more classes"
    )
    wrong, right = images(labels), images(torch.zeros(8).long())
    for batches, val_batches in ((wrong, None), (right, wrong)):
        with pytest.raises(DataError) as error:
            fit(small_vit(), batches, spec_of(duration="1ep"), val_batches=val_batches)
        assert str(error.value) == sentence


def test_targets_that_are_left_out_or_weighed_pass() -> None:
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2, -100])
    assert fit(small_vit(), images(labels), spec_of(duration="1ep")).steps == 2

    def soft(x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        return x, nn.functional.one_hot(y, CLASSES).float()

    assert fit(small_vit(), images(labels.abs() % 4), spec_of(duration="1ep"), augment=soft).steps == 2


@pytest.mark.parametrize("given", [None, 3])
def test_create_model_takes_names_and_settings_only(given: Any) -> None:
    with pytest.raises(ModelError) as error:
        inspect.unwrap(vitscope.create_model)(given)
    assert str(error.value) == (
        f"create_model was given {given!r}, expected a name such as 'vit-ti4-32', a spec or a mapping of settings"
    )
