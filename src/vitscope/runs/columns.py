"""The columns of a learning curve that another program wrote: their names in, what we call them out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_SAME = {
    "loss": "train_loss",
    "training_loss": "train_loss",
    "acc": "train_acc",
    "accuracy": "train_acc",
    "train_accuracy": "train_acc",
    "training_acc": "train_acc",
    "training_accuracy": "train_acc",
    "validation_loss": "val_loss",
    "valid_loss": "val_loss",
    "val_accuracy": "val_acc",
    "validation_acc": "val_acc",
    "validation_accuracy": "val_acc",
    "valid_acc": "val_acc",
    "valid_accuracy": "val_acc",
    "learning_rate": "lr",
}


@dataclass(frozen=True)
class Header:
    """The columns of a file."""

    names: tuple[str, ...]
    """As they are read: ours where theirs is one of the usual other names, theirs otherwise."""
    renamed: tuple[tuple[str, str], ...]
    """Theirs and ours, where the two differ."""
    ignored: tuple[str, ...]
    """Those of which nothing is read."""


def header_of(theirs: Sequence[str], ours: Sequence[str]) -> Header:
    """Reads a header. A usual other name (`loss`, `val_accuracy`, `Val/Acc`) counts where the file has no column of our own name."""
    names: list[str] = []
    for name in theirs:
        plain = re.sub(r"[\s/.\-]+", "_", name.lower())
        own = _SAME.get(plain, plain)
        is_free = own in ours and own not in theirs and own not in names
        names.append(own if is_free else name)
    renamed = tuple((name, own) for name, own in zip(theirs, names, strict=True) if name != own)
    return Header(tuple(names), renamed, tuple(name for name in names if name and name not in ours))
