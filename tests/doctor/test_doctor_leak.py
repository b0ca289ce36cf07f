"""Validation images that are training images, however the two loaders were made; honest splits of one set are left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from watch_parts import evaluate, images_of, parts, train

import vitscope
from vitscope.data import DataSpec, open_data
from vitscope.doctor.data import examine_data, examine_table

FIRST, LAST, MOST = range(120), range(120, 160), range(40, 160)


class Noisy(Dataset[tuple[Tensor, Tensor]]):
    """Another image each time it is asked: augmented."""

    def __init__(self, seed: int = 0) -> None:
        self.images, self.labels = images_of(seed=seed)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.images[index] + 0.1 * torch.randn(3, 16, 16), self.labels[index]


class Files(Dataset[tuple[Tensor, Tensor]]):
    """Files in a folder, that are read when they are asked for."""

    def __init__(self, root: str, transform: Callable[[Tensor], Tensor]) -> None:
        self.root, self.transform = root, transform
        self.names, self.labels = [f"{number}.png" for number in range(160)], images_of()[1]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(images_of()[0][index]), self.labels[index]


def noised(x: Tensor) -> Tensor:
    return x + 0.1 * torch.randn_like(x)


def loaders(train_set: Any, val_set: Any) -> tuple[DataLoader[Any], DataLoader[Any]]:
    return DataLoader(train_set, 16, shuffle=True), DataLoader(val_set, 16)


def sampled(data: Any, one: Any, other: Any) -> tuple[DataLoader[Any], DataLoader[Any]]:
    return DataLoader(data, 16, sampler=one), DataLoader(data, 16, sampler=other)


def of_one(data: Any, one: Any, other: Any) -> tuple[DataLoader[Any], DataLoader[Any]]:
    return loaders(Subset(data, one), Subset(data, other))


def weights(places: range) -> WeightedRandomSampler:
    return WeightedRandomSampler([float(place in places) for place in range(160)], 120)


SICK: dict[str, Callable[[], tuple[DataLoader[Any], DataLoader[Any]]]] = {
    "subset-of-the-training-set": lambda: (lambda d: loaders(d, Subset(d, LAST)))(Noisy()),
    "subsets-that-overlap": lambda: of_one(Noisy(), MOST, range(60)),
    "two-objects-of-one-array": lambda: loaders(Subset(Noisy(), FIRST), Subset(Noisy(), range(100, 160))),
    "two-objects-of-one-folder": lambda: loaders(
        Subset(Files("/data", noised), FIRST), Subset(Files("/data", torch.neg), range(80, 160))
    ),
    "samplers-that-overlap": lambda: sampled(Noisy(), SubsetRandomSampler(MOST), SubsetRandomSampler(range(60))),
    "a-sampler-and-all": lambda: (
        lambda d: (DataLoader(d, 16, shuffle=True), DataLoader(d, 16, sampler=SubsetRandomSampler(LAST)))
    )(Noisy()),
    "copied-pixels": lambda: loaders(
        TensorDataset(*images_of()), TensorDataset(*(x[60:].clone() for x in images_of()))
    ),
}
HONEST: dict[str, Callable[[], tuple[DataLoader[Any], DataLoader[Any]]]] = {
    "subsets": lambda: of_one(Noisy(), FIRST, LAST),
    "two-objects-split-once": lambda: loaders(Subset(Noisy(), FIRST), Subset(Noisy(), LAST)),
    "two-folders-with-the-same-names": lambda: loaders(Files("/train", noised), Files("/val", noised)),
    "two-arrays-of-one-length": lambda: loaders(Noisy(), Noisy(1)),
    "samplers": lambda: sampled(Noisy(), SubsetRandomSampler(FIRST), SubsetRandomSampler(LAST)),
    "weighted-samplers": lambda: sampled(Noisy(), weights(FIRST), weights(LAST)),
    "other-pixels": lambda: loaders(TensorDataset(*images_of()), TensorDataset(*images_of(seed=1))),
    "two-parts-of-one": lambda: (lambda d: loaders(ConcatDataset([Subset(d, FIRST)]), Subset(d, LAST)))(Noisy()),
    "one-image-for-all": lambda: loaders(
        TensorDataset(torch.zeros(160, 3, 16, 16), images_of()[1]),
        TensorDataset(torch.zeros(40, 3, 16, 16), images_of(40)[1]),
    ),
}


def leaks(pair: tuple[DataLoader[Any], DataLoader[Any]]) -> list[dict[str, Any]]:
    p = parts(loader=pair[0], val=pair[1])
    with vitscope.watch(p.model, p.optimizer, p.loader, val_loader=p.val) as watched:
        train(p, 1)
        evaluate(p)
    return [dict(f.evidence) for f in watched.findings if f.id == "validation-loader-draws-training-images"]


@pytest.mark.parametrize("name", SICK)
def test_validation_images_that_are_trained_on_are_found(name: str) -> None:
    (evidence,) = leaks(SICK[name]())
    assert evidence["shared"] >= 20
    assert 0.3 < evidence["share"] <= 1


@pytest.mark.parametrize("name", HONEST)
def test_honest_splits_are_left_alone(name: str) -> None:
    assert not leaks(HONEST[name]())


@pytest.mark.parametrize("name", [name for name in SICK if name != "copied-pixels"])
def test_the_check_of_data_finds_them_too(name: str) -> None:
    (finding,) = examine_data(*SICK[name](), checks=["data-leak"]).findings
    assert (finding.id, finding.severity) == ("validation-images-in-training", "error")


@pytest.mark.parametrize(
    "name", [name for name in HONEST if name not in ("one-image-for-all", "two-folders-with-the-same-names")]
)
def test_the_check_of_data_leaves_honest_splits_alone(name: str) -> None:
    assert not examine_data(*HONEST[name](), checks=["data-leak"]).findings


def test_files_are_told_by_their_folder(tmp_path: Path) -> None:
    one, other = Files(str(tmp_path), noised), Files(str(tmp_path), torch.neg)
    assert leaks(loaders(one, Subset(other, LAST)))[0]["shared"] == 40
    other.names = other.names[::-1]
    assert not leaks(loaders(one, Subset(other, LAST)))


def folder(root: Path, copies: int) -> Path:
    """Class folders for training and validation; so many files of training lie in validation too, by another name."""
    drawn = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 20)):
        for number in range(count):
            place = root / split / "ab"[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn.integers(0, 255, (8, 8, 3)).astype(np.uint8)).save(place / f"{number}.png")
    for number in range(copies):
        name = "ab"[number % 2]
        copyfile(root / "train" / name / f"{number}.png", root / "test" / name / f"copy{number}.png")
    return root


def test_of_a_folder_the_copies_are_named_and_the_code_of_the_fix_lists_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    splits = open_data(DataSpec.parse({"source": str(folder(tmp_path, 8))}), image_size=(8, 8))
    leak = examine_table(splits.train, splits.val, checks=["data-leak"]).findings[0]
    pairs = leak.evidence["equal_images"]
    assert len(pairs) == 3
    for pair in pairs:
        copy, original = pair.split(" = ")
        assert (tmp_path / copy).read_bytes() == (tmp_path / original).read_bytes()
        assert (copy[:5], original[:6]) == ("test/", "train/")
        assert pair in leak.summary.en
        assert pair in leak.summary.ja
    assert ".dataset" not in leak.fault.code
    monkeypatch.chdir(tmp_path)
    exec(leak.fault.code, {})
    assert capsys.readouterr().out.count("copy") == 8


def test_of_data_sets_and_loaders_equal_images_are_told_by_their_numbers() -> None:
    images, labels = images_of()
    train_set = TensorDataset(images[:120], labels[:120])
    val_set = TensorDataset(torch.cat([images[120:], images[5:15]]), torch.cat([labels[120:], labels[5:15]]))
    for sets in ((train_set, val_set), (DataLoader(train_set, 16), DataLoader(val_set, 16))):
        found = examine_data(*sets, checks=["data-leak"]).findings[0]
        for pair in found.evidence["equal_images"]:
            one, other = map(int, pair.split(" = "))
            assert torch.equal(val_set[one][0], train_set[other][0])
    shuffled = examine_data(*loaders(train_set, val_set), checks=["data-leak"]).findings[0]
    assert shuffled.evidence["equal_images"] == ["40", "41", "42"], "what a shuffled loader gave has no number"
    assert "Some of them (of validation): 40; 41; 42." in shuffled.summary.en
    whole = Noisy()
    split = examine_data(*loaders(Subset(whole, MOST), Subset(whole, range(60))), checks=["data-leak"]).findings[0]
    assert split.evidence["equal_images"] == ["40", "41", "42"]
    assert ".dataset" in split.fault.code
