"""Which places of its data set a loader draws. In goes a loader, out come numbers: a sampler may be what splits a set in two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)


def places_drawn(loader: Any) -> Sequence[int] | None:
    """The places that can come in a pass, or in a pass of another process beside it; None where that is unknown."""
    try:
        count = len(loader.dataset)
        batches = getattr(loader, "batch_sampler", None)
        sampler = getattr(loader, "sampler", None)
        if batches is not None and not isinstance(batches, BatchSampler):  # it draws by itself
            sampler = getattr(batches, "sampler", batches)
        return _of_sampler(sampler, count)
    except (TypeError, AttributeError, ValueError, NotImplementedError):
        return None


def _of_sampler(sampler: Any, count: int) -> Sequence[int] | None:
    if isinstance(sampler, WeightedRandomSampler):
        return [place for place, weight in enumerate(sampler.weights.tolist()) if weight > 0]
    if isinstance(sampler, SequentialSampler | RandomSampler | DistributedSampler):
        source = sampler.dataset if isinstance(sampler, DistributedSampler) else sampler.data_source
        return range(count) if len(source) == count else None  # type: ignore[arg-type]
    indices = getattr(sampler, "indices", None)
    if isinstance(sampler, SubsetRandomSampler) or (indices is not None and len(indices) == len(sampler)):
        return [int(each) for each in indices or ()]
    return range(count) if len(sampler) >= count else None
