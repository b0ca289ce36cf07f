"""The columns of a learning curve that another program wrote: their names in, what we call them out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_WHOSE = {
    **dict.fromkeys(("train", "training", "tr", "学習", "訓練"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "eval", "test", "dev", "検証", "テスト", "評価"), "val"),
}
_WHAT = {
    **dict.fromkeys(("loss", "損失", "ロス"), "loss"),
    **dict.fromkeys(
        ("acc", "accuracy", "top1", "acc1", "top1_acc", "acc_top1", "acc@1", "top_1", "精度", "正解率"), "acc"
    ),
}
_OTHERS = {
    **dict.fromkeys(("learning_rate", "lr", "学習率"), "lr"),
    **dict.fromkeys(("epoch", "epochs", "エポック"), "epoch"),
    **dict.fromkeys(("step", "steps", "global_step", "iteration", "iter", "ステップ"), "step"),
}
_RATE = re.compile(r"(lr|learning_rate)[_/-]\S+")


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
    """Reads a header. A usual other name (`loss`, `eval_top1`, `Val/Acc`, `検証損失`) counts where the file has no column of our own name.

    A bare `accuracy` is that of training (Keras), but beside `train_loss` and a validation loss that of validation (fastai)."""
    meant = [_ours(name) for name in theirs]
    is_fastai = "val_loss" in meant and "val_acc" not in meant and "train_loss" in theirs
    names: list[str] = []
    for name, own in zip(theirs, meant, strict=True):
        if is_fastai and own == "train_acc" and not _is_told(name):
            own = "val_acc"
        is_free = own in ours and own not in theirs and own not in names
        names.append(own if is_free else name)
    renamed = tuple((name, own) for name, own in zip(theirs, names, strict=True) if name != own)
    return Header(tuple(names), renamed, tuple(name for name in names if name and name not in ours))


def _plain(name: str) -> str:
    return re.sub(r"[\s/.\-]+", "_", name.strip().lower()).removesuffix("_epoch")


def _is_told(name: str) -> bool:
    """Whether a name says of which images it is."""
    plain = _plain(name)
    return any(plain.startswith(whose) or plain.endswith(whose) for whose in _WHOSE)


def _ours(name: str) -> str:
    """Our name for a column, or its own."""
    plain = _plain(name)
    if plain in _OTHERS or _RATE.fullmatch(name.strip().lower()):
        return _OTHERS.get(plain, "lr")
    if plain in _WHAT:
        return f"train_{_WHAT[plain]}"
    for whose, own in _WHOSE.items():
        for rest in (plain.removeprefix(whose), plain.removesuffix(whose)):
            what = rest.strip("_")
            if rest != plain and what in _WHAT:
                return f"{own}_{_WHAT[what]}"
    return plain
