"""The order of batches: pure in seed and epoch, resumable in the middle, complete over ranks."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitscope._core.errors import ConfigError
from vitscope.data import BatchLoader, ImageTable


def numbered(count: int, size: int = 2) -> ImageTable:
    """Images whose label is their row, and whose pixels say it too."""
    labels = np.arange(count, dtype=np.int64)
    images = np.broadcast_to((labels % 256).astype(np.uint8)[:, None, None, None], (count, size, size, 3)).copy()
    return ImageTable(images, labels, tuple(map(str, range(count))), "numbered")


def rows(loader: BatchLoader) -> list[list[int]]:
    return [labels.tolist() for _, labels in loader]


sizes = {
    "count": st.integers(1, 90),
    "batch": st.integers(1, 17),
    "seed": st.integers(0, 2**63 - 1),
    "epoch": st.integers(0, 500),
}


@settings(max_examples=60, deadline=None)
@given(**sizes)
def test_an_epoch_holds_every_image_once_and_its_order_is_pure(count: int, batch: int, seed: int, epoch: int) -> None:
    first = BatchLoader(numbered(count), batch_size=batch, shuffle=True, seed=seed)
    second = BatchLoader(numbered(count), batch_size=batch, shuffle=True, seed=seed)
    torch.manual_seed(epoch)
    first.set_epoch(epoch + 1)
    list(first)
    first.set_epoch(epoch)
    second.set_epoch(epoch)
    order = rows(first)
    np.random.seed(1)
    assert order == rows(second)
    assert sorted(row for batch_rows in order for row in batch_rows) == list(range(count))
    assert len(order) == len(first) == -(-count // batch)


@settings(max_examples=60, deadline=None)
@given(**sizes, data=st.data())
def test_a_resume_continues_with_the_batches_that_were_left(
    count: int, batch: int, seed: int, epoch: int, data: st.DataObject
) -> None:
    loader = BatchLoader(numbered(count), batch_size=batch, shuffle=True, seed=seed)
    loader.set_epoch(epoch)
    whole = rows(loader)
    start = data.draw(st.integers(0, len(loader)))
    loader.set_epoch(epoch, start)
    assert rows(loader) == whole[start:]
    assert len(loader) == len(whole)


@settings(max_examples=80, deadline=None)
@given(**sizes, world=st.integers(1, 6), drop=st.booleans())
def test_ranks_share_a_training_epoch(count: int, batch: int, seed: int, epoch: int, world: int, drop: bool) -> None:
    table = numbered(count)
    if count < (world * batch if drop else world):
        with pytest.raises(ConfigError, match="lower batch_size"):
            BatchLoader(table, batch_size=batch, shuffle=True, seed=seed, drop_last=drop).shard(0, world)
        return
    whole = BatchLoader(table, batch_size=batch, shuffle=True, seed=seed, drop_last=drop)
    shards = [whole.shard(rank, world) for rank in range(world)]
    for shard in shards:
        shard.set_epoch(epoch)
    parts = [rows(shard) for shard in shards]
    assert {len(part) for part in parts} == {len(shards[0])}
    assert all(1 <= len(b) <= batch for part in parts for b in part)
    seen = [row for part in parts for b in part for row in b]
    assert len(seen) == len(set(seen))
    assert count - len(seen) < (world * batch if drop else world)
    one = BatchLoader(table, batch_size=batch * world, shuffle=True, seed=seed)
    one.set_epoch(epoch)
    for number, together in enumerate(rows(one)[: len(shards[0])]):
        assert [row for part in parts for row in part[number]] == together


@settings(max_examples=60, deadline=None)
@given(count=st.integers(6, 90), batch=st.integers(1, 17), world=st.integers(1, 6))
def test_ranks_share_an_evaluation_exactly(count: int, batch: int, world: int) -> None:
    loader = BatchLoader(numbered(count), batch_size=batch, shuffle=False)
    parts = [rows(loader.shard(rank, world)) for rank in range(world)]
    assert [row for part in parts for b in part for row in b] == list(range(count))
    held = [sum(map(len, part)) for part in parts]
    assert max(held) - min(held) <= 1


def test_batches_are_contiguous_uint8_channels_first() -> None:
    table = ImageTable(np.arange(5 * 4 * 3 * 3, dtype=np.uint8).reshape(5, 4, 3, 3), np.arange(5), ("a",) * 5, "t")
    images, labels = next(iter(BatchLoader(table, batch_size=5, shuffle=False)))
    assert images.shape == (5, 3, 4, 3)
    assert images.dtype == torch.uint8
    assert labels.dtype == torch.int64
    assert images.is_contiguous()
    assert torch.equal(images, torch.from_numpy(table.images).permute(0, 3, 1, 2))


def test_a_subset_gives_its_own_rows() -> None:
    table = numbered(20).subset(np.array([7, 3, 11])).subset(np.array([2, 0]))
    images, labels = next(iter(BatchLoader(table, batch_size=2, shuffle=False)))
    assert labels.tolist() == [11, 7]
    assert images[:, 0, 0, 0].tolist() == [11, 7]
    assert table.item(0)[0][0, 0, 0] == 11


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_loader_that_keeps_its_images_on_a_device_gives_the_same_batches(shuffle: bool) -> None:
    part = numbered(23).subset(np.arange(20, 3, -1))
    plain = BatchLoader(part, batch_size=3, shuffle=shuffle, seed=5)
    kept = plain.on_device(torch.device("cpu"))
    assert plain.bytes == 17 * part.images[0].size
    for epoch, start in ((0, 0), (1, 2)):
        plain.set_epoch(epoch, start)
        kept.set_epoch(epoch, start)
        pairs = list(zip(plain, kept, strict=True))
        assert len(pairs) == len(plain) - start
        for (images, labels), (images_there, labels_there) in pairs:
            assert torch.equal(images, images_there)
            assert torch.equal(labels, labels_there)
    shared = [plain.shard(rank, 2).on_device(torch.device("cpu")) for rank in range(2)]
    assert [len(loader) for loader in shared] == [len(plain.shard(rank, 2)) for rank in range(2)]


def test_batches_are_copies() -> None:
    table = numbered(4)
    images, labels = next(iter(BatchLoader(table, batch_size=4, shuffle=False)))
    images.zero_()
    labels.zero_()
    assert table.images.max() == 3
    assert table.labels.max() == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"batch_size": 0}, "batch_size is 0, expected at least 1"),
        (
            {"batch_size": 9, "drop_last": True},
            "numbered has 8 images, which gives no batch of 9 on 1 process(es); lower batch_size",
        ),
        ({"batch_size": 4, "seed": -1}, "seed is -1, expected at least 0"),
    ],
)
def test_what_cannot_be_iterated_is_refused(arguments: dict[str, int], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        BatchLoader(numbered(8), shuffle=True, **arguments)  # type: ignore[arg-type]
    assert str(caught.value) == sentence


def test_a_start_outside_the_epoch_and_a_rank_outside_the_world_are_refused() -> None:
    loader = BatchLoader(numbered(8), batch_size=4, shuffle=True)
    with pytest.raises(ConfigError, match="start is 3, expected 0 to 2"):
        loader.set_epoch(0, 3)
    with pytest.raises(ConfigError, match="rank is 2, expected 0 to 1"):
        loader.shard(2, 2)


def test_a_batch_of_128_small_images_takes_well_under_a_millisecond() -> None:
    table = numbered(4096, size=32)
    stored = ImageTable(
        np.ascontiguousarray(table.images.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1),
        table.labels,
        table.label_names,
        "stored",
    )
    loader = BatchLoader(stored, batch_size=128, shuffle=True)
    list(loader)
    best = float("inf")
    for epoch in range(10):
        loader.set_epoch(epoch)
        began = time.process_time()  # what it waits for another process is not its own
        for _ in loader:
            pass
        best = min(best, (time.process_time() - began) / len(loader))
    assert best < 1e-3
