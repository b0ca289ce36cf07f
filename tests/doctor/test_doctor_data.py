"""The doctor's checks of images and labels: each fault found in loaders of several makes, honest sets left alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, WeightedRandomSampler

from vitscope._core.errors import DataError, UsageError
from vitscope._core.preprocessing import Preprocessing
from vitscope.augment.spec import AugmentSpec
from vitscope.data import DataSpec, DataSplits, ImageTable, open_data
from vitscope.data.decode import fit
from vitscope.data.sources import find_source
from vitscope.doctor.data import DATA_CHECKS, examine_data, examine_table

pytestmark = pytest.mark.e2e  # whole examinations

CIFAR = Path(__file__).parents[2].parent / "shared" / "data" / "cifar10"


@pytest.fixture(scope="module")
def digits() -> DataSplits:
    return open_data(DataSpec.parse({"source": "digits"}), image_size=(8, 8))


def _tensors(table: Any) -> tuple[Tensor, Tensor]:
    """Normalised images and labels of a table."""
    images = torch.from_numpy(np.ascontiguousarray(table.rows(np.arange(len(table))))).permute(0, 3, 1, 2)
    return images.float() / 127.5 - 1, torch.from_numpy(table.labels.copy())


@pytest.fixture(scope="module")
def train(digits: DataSplits) -> tuple[Tensor, Tensor]:
    return _tensors(digits.train)


@pytest.fixture(scope="module")
def val(digits: DataSplits) -> tuple[Tensor, Tensor]:
    return _tensors(digits.val)


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Images moved by up to two pixels, blank (-1) coming in, and made brighter or darker."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        padded = torch.nn.functional.pad(self.images[i], (2, 2, 2, 2), value=-1.0)
        top, left = torch.randint(5, (2,)).tolist()
        light = 0.6 + 0.4 * torch.rand(())
        return (padded[:, top : top + 8, left : left + 8] + 1) * light - 1, self.labels[i]


def _loader(
    pair: tuple[Tensor, Tensor], *, shuffle: bool = False, augment: bool = False, **more: Any
) -> DataLoader[Any]:
    return DataLoader((Augmented if augment else TensorDataset)(*pair), batch_size=64, shuffle=shuffle, **more)


def _ids(found: Any) -> dict[str, str]:
    return {finding.id: finding.severity for finding in found[0]}


def test_an_augmented_shuffled_loader_is_healthy(train: Any, val: Any) -> None:
    findings, skips, run = examine_data(_loader(train, shuffle=True, augment=True), _loader(val), classes=10)
    assert not findings
    assert [skip.check for skip in skips] == ["data-leak"]  # images that change cannot be recognised
    assert set(run) == set(DATA_CHECKS) - {"data-leak"}


def test_random_states_are_as_they_were(train: Any) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    examine_data(_loader(train, shuffle=True, augment=True), classes=10)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_augmentation_is_a_warning(train: Any, val: Any) -> None:
    found = examine_data(_loader(train, shuffle=True), _loader(val), classes=10)
    assert _ids(found) == {"no-augmentation": "warning"}
    assert "1,437" in found[0][0].summary.en


def test_augmentation_in_the_collate_function_is_seen(train: Any) -> None:
    def noisy(items: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        images, labels = (torch.stack(each) for each in zip(*items, strict=True))
        return images + 0.1 * torch.randn_like(images), labels

    assert not _ids(examine_data(_loader(train, shuffle=True, collate_fn=noisy), checks=["data-augmentation"]))


def test_a_set_that_holds_mirrored_copies_was_augmented_before(train: Any) -> None:
    images, labels = train
    both = torch.cat([images, images.flip(-1)]), torch.cat([labels, labels])
    assert not _ids(examine_data(_loader(both, shuffle=True), checks=["data-augmentation"]))


@pytest.mark.parametrize("shuffle", [False, True])
def test_validation_that_changes_is_a_warning_and_one_that_is_only_shuffled_is_none(
    train: Any, val: Any, shuffle: bool
) -> None:
    training = _loader(train, shuffle=True, augment=True)
    found = examine_data(training, _loader(val, augment=True, shuffle=shuffle), classes=10)
    assert _ids(found)["validation-augmented"] == "warning"
    assert "validation-augmented" not in _ids(examine_data(training, _loader(val, shuffle=shuffle), classes=10))


def test_one_data_set_object_for_both_is_named(train: Any) -> None:
    whole = Augmented(*train)
    parts = Subset(whole, range(1000)), Subset(whole, range(1000, 1437))
    found = examine_data(DataLoader(parts[0], 64, shuffle=True), DataLoader(parts[1], 64), classes=10)
    assert _ids(found) == {"validation-augmented": "warning"}
    assert found[0][0].evidence["one_data_set_object"] is True


def test_training_on_the_data_set_of_a_subset_is_a_leak_though_it_is_augmented(train: Any) -> None:
    whole = Augmented(*train)
    held_out = Subset(whole, range(1000, 1437))
    found = examine_data(DataLoader(held_out.dataset, 64, shuffle=True), DataLoader(held_out, 64), classes=10)
    assert _ids(found)["validation-images-in-training"] == "error"


def test_validation_that_is_training_is_found_under_another_normalisation(train: Any) -> None:
    images, labels = train
    found = examine_data(_loader(train, shuffle=True), _loader(((images - 0.3) / 0.7, labels)), classes=10)
    assert _ids(found)["validation-images-in-training"] == "error"


def test_a_few_shared_images_are_a_note_more_a_warning(train: Any, val: Any) -> None:
    def with_shared(count: int) -> dict[str, str]:
        mixed = torch.cat([val[0], train[0][:count]]), torch.cat([val[1], train[1][:count]])
        return _ids(examine_data(_loader(train, shuffle=True), _loader(mixed), classes=10, checks=["data-leak"]))

    assert with_shared(0) == {}
    assert with_shared(2) == {"validation-images-in-training": "note"}
    assert with_shared(20) == {"validation-images-in-training": "warning"}


def test_blank_images_are_no_leak(train: Any, val: Any) -> None:
    sets = [
        (torch.cat([x, -torch.ones(200, 1, 8, 8)]), torch.cat([y, torch.arange(200) % 10])) for x, y in (train, val)
    ]
    assert not _ids(examine_data(_loader(sets[0], shuffle=True), _loader(sets[1]), checks=["data-leak"]))


def test_normalisation_that_differs_and_raw_pixels(train: Any, val: Any) -> None:
    def found(one: Tensor, other: Tensor) -> dict[str, str]:
        sets = _loader((one, train[1]), shuffle=True), _loader((other, val[1]))
        return _ids(examine_data(*sets, classes=10, checks=["data-normalisation"]))

    assert found(train[0], val[0]) == {}
    assert found(train[0], (val[0] + 1) / 2) == {"normalisation-differs": "warning"}
    assert found((train[0] + 1) * 127.5, (val[0] + 1) * 127.5) == {"pixels-not-scaled": "warning"}
    raw = [((x + 1) * 127.5).to(torch.uint8) for x in (train[0], val[0])]
    assert found(*raw) == {"pixels-not-scaled": "note"}
    assert found(train[0].clone().index_fill_(0, torch.tensor([3]), float("nan")), val[0]) == {
        "images-not-finite": "error"
    }


def test_heavy_augmentation_is_no_other_normalisation(train: Any, val: Any) -> None:
    dark = Augmented(*train)
    erased = [(x.index_fill(1, torch.arange(int(i) % 5), -1.0), y) for i, (x, y) in enumerate(dark)]
    stacked = torch.stack([x for x, _ in erased]), torch.stack([y for _, y in erased])
    assert not _ids(examine_data(_loader(stacked, shuffle=True), _loader(val), checks=["data-normalisation"]))


def test_class_sorted_is_an_error_and_the_same_order_twice_a_warning(train: Any, val: Any) -> None:
    order = train[1].argsort()
    by_class = train[0][order], train[1][order]
    found = examine_data(_loader(by_class, augment=True), _loader(val), classes=10, checks=["data-order"])
    assert _ids(found)["training-sorted-by-class"] == "error"
    fixed = examine_data(_loader(train, augment=True), _loader(val), classes=10, checks=["data-order"])
    assert _ids(fixed) == {"training-not-shuffled": "warning"}


def test_the_first_class_alone_is_sorted_where_the_model_has_ten(train: Any) -> None:
    ones = train[0][train[1] == 1], train[1][train[1] == 1]
    found = _ids(examine_data(_loader(ones), classes=10, checks=["data-order"]))
    assert found == {"training-sorted-by-class": "error", "training-not-shuffled": "warning"}
    assert not _ids(examine_data(_loader(ones, shuffle=True), classes=10, checks=["data-order"])), (
        "shuffled, it is all there is"
    )


def test_orders_that_are_no_fault(train: Any) -> None:
    images, labels = train
    order = labels.argsort()
    by_class = images[order], labels[order]

    def found(source: Any) -> dict[str, str]:
        return _ids(examine_data(source, classes=10, checks=["data-order"]))

    assert found(TensorDataset(*by_class)) == {}, "a data set's loader may shuffle"
    assert found(DataLoader(TensorDataset(*by_class), batch_size=2000)) == {}, "one batch"
    assert found(list(_loader(train))) == {}, "a list has one order"
    four_each = (
        labels.argsort()[:1280].view(-1, 4)[torch.randperm(320, generator=torch.Generator().manual_seed(0))].flatten()
    )
    assert "training-sorted-by-class" not in found(_loader((images[four_each], labels[four_each])))
    rare = (labels == 3).long() * (torch.arange(len(labels)) % 5 == 0)
    assert found(_loader((images, rare), shuffle=True)) == {}, "nearly one class"


def test_labels_of_other_images_are_an_error(train: Any, val: Any) -> None:
    mixed_up = train[0], train[1][torch.randperm(len(train[1]), generator=torch.Generator().manual_seed(0))]
    found = examine_data(_loader(mixed_up, shuffle=True), _loader(val), classes=10, checks=["data-labels"])
    assert _ids(found) == {"labels-do-not-belong-to-images": "error"}
    few = mixed_up[0][:300], mixed_up[1][:300]
    assert _ids(examine_data(_loader(few, shuffle=True), classes=10, checks=["data-labels"])) == {
        "labels-not-read-by-probes": "warning"
    }
    alone = examine_data(_loader(mixed_up, shuffle=True), classes=10, checks=["data-labels"])
    assert _ids(alone) == {"labels-not-read-by-probes": "warning"}, (
        "no other set shows that the probes can read such labels"
    )


def test_labels_that_no_class_has(train: Any, val: Any) -> None:
    def found(shift: int, classes: int | None) -> dict[str, str]:
        shifted = train[0][:300], train[1][:300] + shift
        return _ids(examine_data(_loader(shifted, shuffle=True), classes=classes, checks=["data-labels"]))

    from_one = examine_data(_loader((train[0][:300], train[1][:300] + 1), shuffle=True), classes=10).examination
    folded = {each.id: each.folded_under for each in from_one.findings}
    assert folded.get("classes-imbalanced", "labels-out-of-range") == "labels-out-of-range"
    assert found(1, 10) == found(0, 9) == found(-1, 10) == {"labels-out-of-range": "error"}
    assert found(-1, None) == {"labels-below-zero": "warning"}
    assert found(1, None) == {"labels-out-of-range": "warning"}, "they seem to count from 1"
    assert found(0, 10) == found(0, 100) == found(1, 11) == found(2, None) == {}
    ignored = train[1].clone()
    ignored[::7] = -100
    assert not _ids(examine_data(_loader((train[0], ignored), shuffle=True), classes=10, checks=["data-labels"]))
    two = train[0][:300], (train[1][:300] > 4).float()[:, None]
    assert not _ids(examine_data(_loader(two, shuffle=True), classes=1, checks=["data-labels", "data-balance"]))


def test_imbalance_is_a_warning_whose_labels_still_count_as_labels(train: Any, val: Any) -> None:
    images, labels = train
    keep = torch.cat([(labels == c).nonzero()[: 140 if c == 0 else 12, 0] for c in range(10)])
    uneven = images[keep], labels[keep]
    found = examine_data(_loader(uneven, shuffle=True, augment=True), _loader(val), classes=10)
    assert _ids(found) == {"classes-imbalanced": "warning"}
    weights = 1 / torch.bincount(uneven[1]).double()[uneven[1]]
    sampler = WeightedRandomSampler(weights.tolist(), 1000)
    assert "classes-imbalanced" not in _ids(
        examine_data(DataLoader(Augmented(*uneven), 64, sampler=sampler), classes=10)
    )


def test_mixed_images_with_soft_labels_are_healthy(train: Any) -> None:
    def mixup(items: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        images, labels = (torch.stack(each) for each in zip(*items, strict=True))
        weight, soft = float(np.random.beta(1, 1)), torch.nn.functional.one_hot(labels, 10).float()
        return weight * images + (1 - weight) * images.flip(0), weight * soft + (1 - weight) * soft.flip(0)

    found = examine_data(_loader(train, shuffle=True, collate_fn=mixup), classes=10)
    assert not found[0]
    assert {"data-labels", "data-balance", "data-order"} <= set(found[2])


def test_validation_that_drops_its_last_images_is_a_note(train: Any, val: Any) -> None:
    found = examine_data(train, _loader(val, drop_last=True), checks=["data-evaluation"])
    assert _ids(found) == {"validation-drops-images": "note"}
    assert found[0][0].evidence == {"left_out": 360 % 64, "images": 360}
    assert not examine_data(train, _loader(val), checks=["data-evaluation"])[0]


class Stream(IterableDataset[tuple[Tensor, Tensor]]):
    def __init__(self, pair: tuple[Tensor, Tensor]) -> None:
        self.pair = pair

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from zip(*self.pair, strict=True)


def test_streams_and_generators_end_and_are_not_accused(train: Any) -> None:
    for source in (DataLoader(Stream(train), 64), Stream(train), iter(list(_loader(train)))):
        findings, skips, _ = examine_data(source, classes=10, seconds=1.0)
        assert not findings
        assert "data-augmentation" in {skip.check for skip in skips}


class Files(Dataset[dict[str, Any]]):
    """As the hub's data sets give them: PIL images and numbers in dictionaries."""

    def __init__(self, pair: tuple[Tensor, Tensor]) -> None:
        self.pair = pair

    def __len__(self) -> int:
        return len(self.pair[0])

    def __getitem__(self, i: int) -> dict[str, Any]:
        pixels = ((self.pair[0][i, 0] + 1) * 127.5).to(torch.uint8).numpy()
        return {"image": Image.fromarray(pixels).convert("RGB"), "label": int(self.pair[1][i])}


def test_all_makes_of_sets_are_read_alike(train: Any) -> None:
    images, labels = train = train[0][:224], train[1][:224]
    makes: dict[str, Any] = {
        "pair": train,
        "arrays": (images.numpy(), labels.numpy()),
        "one dictionary": {"pixel_values": images, "labels": labels},
        "items": [(images[i], int(labels[i])) for i in range(224)],
        "channels last": [
            (images[i : i + 32].permute(0, 2, 3, 1).expand(-1, -1, -1, 3), labels[i : i + 32])
            for i in range(0, 224, 32)
        ],
        "grey without channels": [(images[i : i + 32, 0], labels[i : i + 32]) for i in range(0, 224, 32)],
        "dictionaries": [{"image": images[i : i + 32], "label": labels[i : i + 32]} for i in range(0, 224, 32)],
        "PIL": Files(train),
        "PIL in a loader": DataLoader(Files(train), 64, shuffle=True, collate_fn=_as_lists),
    }
    for make, source in makes.items():
        findings, _, run = examine_data(source, classes=10)
        assert {"data-labels", "data-balance"} <= set(run), make
        assert not [f for f in findings if f.severity == "error"], make


def _as_lists(items: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [item[key] for item in items] for key in items[0]}


def test_what_holds_no_images_is_one_sentence(train: Any) -> None:
    for source, said in (
        ([], "no images"),
        (5, "expected a loader"),
        ([{"text": 1}], "dictionaries with text"),
        ([(torch.ones(4), torch.ones(3))], "shape"),
        ([(torch.ones(2, 3, 8, 8), ["cat", "dog"])], "labels are str"),
        ([(torch.ones(4, 3, 8, 8), torch.ones(3))], "4 images and 3 labels"),
    ):
        with pytest.raises(DataError, match=said):
            examine_data(source)
    with pytest.raises(UsageError, match="did you mean 'data-leak'"):
        examine_data(train, checks=["data-leek"])


def test_digits_of_vitscope_are_healthy(digits: DataSplits) -> None:
    findings, skips, run = examine_table(digits.train, digits.val)
    said = {skip.check: skip.why.en for skip in skips}
    assert all("examine_data" in said[check] for check in ("data-normalisation", "data-order"))
    _, told, _ = examine_table(digits.train, digits.val, augment=AugmentSpec())
    assert "the recipe normalises" in next(skip.why.en for skip in told if skip.check == "data-normalisation")
    assert not findings
    assert {skip.check for skip in skips} == {"data-order", "data-normalisation", "data-augmentation"}
    assert run == ("data-labels", "data-leak", "data-normalisation", "data-balance", "data-evaluation")
    assert _ids(examine_table(digits.train, digits.val, augment=AugmentSpec())) == {"no-augmentation": "warning"}
    assert not examine_table(digits.train, digits.val, augment=AugmentSpec(crop=1))[0]
    assert _ids(examine_table(digits.train, digits.train))["validation-images-in-training"] == "error"
    assert _ids(examine_table(digits.train, digits.val, classes=5))["labels-out-of-range"] == "error"


def test_a_folder_of_class_folders_can_be_examined(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 120), ("test", 30)):
        for label, level in (("dark", 60), ("light", 160)):
            (tmp_path / split / label).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, level + 60, (16, 16, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / label / f"{i}.png")
    data = open_data(DataSpec.parse({"source": str(tmp_path)}), image_size=(16, 16))
    findings, _, run = examine_table(data.train, data.val)
    assert not findings
    assert "data-labels" in run


@pytest.mark.skipif(not CIFAR.is_dir(), reason="CIFAR-10 beside the checkout (../shared) is absent")
def test_cifar10_is_healthy_and_its_labels_shuffled_are_not() -> None:
    source = find_source(DataSpec.parse({"source": str(CIFAR)}))
    how = Preprocessing(image_size=(32, 32), channels=3, resize="crop", mean=(0.5,) * 3, std=(0.5,) * 3)
    tables = {}
    for name, count in (("train", 2500), ("test", 800)):
        records = list(islice(source.splits[name].records(), count))
        pixels, labels = (
            np.stack([fit(record, how) for record in records]),
            np.array([record.label for record in records]),
        )
        tables[name] = ImageTable(pixels, labels, source.label_names, name)
    findings, _, run = examine_table(tables["train"], tables["test"])
    assert not [finding for finding in findings if finding.severity != "note"]
    assert "data-leak" in run
    images, true = _tensors(tables["train"])
    mixed_up = images, true[torch.randperm(len(true), generator=torch.Generator().manual_seed(1))]
    assert _ids(examine_data(mixed_up, classes=10, checks=["data-labels"])) == {"labels-not-read-by-probes": "warning"}
    held_out = _tensors(tables["test"])
    found = examine_data(mixed_up, held_out, classes=10, checks=["data-labels"])
    assert _ids(found) == {"labels-do-not-belong-to-images": "error"}
