"""What the loaders gave: in which order, and whether all of it. In goes the record of a loop, out come findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, SequentialSampler

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.loop.guessing import guessing
from vitscope.doctor.loop.leak import leak
from vitscope.doctor.loop.passes import Pass
from vitscope.doctor.loop.record import Record
from vitscope.doctor.loop.words import counted

_WHY = Text(
    "Batches of one class pull the model to that class, and the next ones pull it away: it forgets as fast as it learns.",
    "同じクラスばかりのバッチはモデルをそのクラスへ引き寄せ、次のバッチがそこから引き離します。覚えるそばから忘れてしまいます。",
)
_DRAWN = Text(
    "A loss that learns classes is pulled to that of the batch, and away from it by the next; one that compares images of a batch needs such as are "
    "alike.",
    "クラスを学習する損失なら、バッチのクラスへ引き寄せられては次のバッチで引き離されます。一方、バッチ内の画像を比べる損失には、同じクラスの画像が必要です。",
)
_WHERE_MEANT = Text(
    "nothing to do where it is meant; else shuffle the training loader",
    "意図したものなら対応は不要です。そうでなければ、学習用ローダーでシャッフルを有効にしてください",
)
SORTED = Fault(
    "batches-sorted-by-class",
    "D6",
    "loop-data",
    "error",
    _WHY,
    Text("shuffle the training loader", "学習用ローダーでシャッフルを有効にしてください"),
    "DataLoader(train_set, batch_size=128, shuffle=True)",
    explains=("same-order-in-every-epoch", "learning-rate-too-high"),
)
SAME_ORDER = Fault(
    "same-order-in-every-epoch",
    "D6",
    "loop-data",
    "warning",
    Text(
        "The same images meet in the same batches in every epoch: the noise that helps to generalise is lost, and the last images count most.",
        "毎エポック同じ画像が同じバッチに入ります。汎化を助けるゆらぎが失われ、最後の画像の影響が強くなります。",
    ),
    Text("shuffle the training loader", "学習用ローダーでシャッフルを有効にしてください"),
    "DataLoader(train_set, batch_size=128, shuffle=True)",
)
SAME_LOADER = Fault(
    "validation-loader-is-the-training-loader",
    "D3",
    "loop-data",
    "warning",
    Text(
        "What was trained on says nothing about new images: the measured accuracy is that of images that the model may know by heart.",
        "学習に使った画像では、未知の画像に対する性能は測れません。測った正解率は、モデルが丸暗記しているかもしれない画像でのものです。",
    ),
    Text("validate on images of their own", "学習に使わない画像で検証してください"),
    "val_loader = DataLoader(val_set, batch_size=256)",
    explains=("trained-on-validation-batches",),
)
_ONE_BATCH = Text(
    "The model learns the first images by heart and meets no others.",
    "モデルは先頭の画像だけを丸暗記し、ほかの画像に出会いません。",
)
_GO_ON = Text(
    "go through the loader in a for loop, or keep one iterator; and shuffle",
    "for文でローダーを最後まで回すか、イテレータを一つ作って使い続け、シャッフルも有効にしてください",
)
_GOES_ON = "for images, labels in loader:\n    ..."
PART = Fault(
    "validation-leaves-samples-out",
    "E2",
    "loop-data",
    "note",
    Text(
        "The measured accuracy is that of a part of the set, and cannot be compared with figures of all of it.",
        "測った正解率は検証データの一部だけのもので、全体での値とは比較できません。",
    ),
    Text("drop_last=False in the validation loader", "検証用ローダーではdrop_last=Falseにしてください"),
    "DataLoader(val_set, batch_size=256, drop_last=False)",
)


def data(record: Record) -> Iterator[Finding]:
    """Which samples came, and in which order.

    Does: counts what the loaders give and keeps the labels of the first batches of each pass.
    Finds: batches sorted by class, the same order in two epochs, the same first batch again and again, one loader for training and validation,
    validation images that are training images, validation that leaves samples out; a loss that stays at that of guessing (a note).
    Must not accuse: shuffled loaders, class-balanced batches, identity samplers (some images of each of some classes), loaders of one
    batch, validation that is broken off or distributed.
    Source: PyTorch, torch.utils.data
    """
    yield from _same_loader(record)
    yield from leak(record)
    if not any(each.batches for each in record.passes):
        raise Skipped(
            Text(
                "neither loader was given and gone through in the block, or it cannot be watched (a list, a generator)",
                "ローダーが渡されていないか、ブロック内で使われていないか、監視できない種類（リスト、ジェネレータ）です",
            )
        )
    yield from _sorted(record)
    yield from _same_order(record)
    yield from _part(record)
    yield from guessing(record)


def _same_loader(record: Record) -> Iterator[Finding]:
    if record.loader is None or record.loader is not record.val_loader:
        return
    yield SAME_LOADER.found(
        Text(
            "The training loader and the validation loader that watch was given are one and the same object.",
            "watchに渡された学習用ローダーと検証用ローダーは、まったく同じオブジェクトです。",
        ),
        {"passes": len(record.passes)},
    )


def _sorted(record: Record) -> Iterator[Finding]:
    for each in record.train_passes():
        labels = torch.cat(each.labels) if each.labels else torch.empty(0, dtype=torch.long)
        if len(each.labels) < 4 or len(labels) < 40:
            continue
        runs = 1 + int((labels[1:] != labels[:-1]).sum())
        distinct = _distinct(labels)
        if runs > 1.5 * distinct or distinct * 4 > len(labels) or (distinct == 1 and not _is_a_class(record, each)):
            continue
        per_batch, goes_on = sum(_distinct(batch) for batch in each.labels) / len(each.labels), _goes_on(each.labels)
        if per_batch > 1.5 and not goes_on:
            continue
        is_trouble = goes_on or _is_cross_entropy(record)
        fault = SORTED if is_trouble else replace(SORTED, why=_DRAWN, advice=_WHERE_MEANT)
        yield fault.found(
            Text(
                f"The training images come sorted by class: {len(labels)} in a row have {counted(distinct, 'class', 'classes')} in "
                f"{counted(runs, 'run', 'runs')}, a batch {per_batch:.1f} on average.",
                f"学習画像がクラス順に並んでいます。連続する{len(labels)}枚に{distinct}クラスが{runs}個のかたまりで現れ、"
                f"1バッチあたり{per_batch:.1f}クラスしかありません。",
            ),
            {"samples": len(labels), "classes": distinct, "runs": runs, "classes_per_batch": per_batch},
            severity="error" if is_trouble else "note",
        )
        return


def _is_cross_entropy(record: Record) -> bool:
    """Whether the loss is known to pull to the classes that it is given."""
    return 2 * sum(fit.is_cross_entropy for fit in record.fits) > len(record.fits)


def _goes_on(batches: list[Tensor]) -> bool:
    """Whether the runs go on from batch to batch, or all classes come in their order. Runs within a batch alone, of classes that were drawn for it,
    are what a sampler of identities gives."""
    labels = torch.cat(batches)
    kept = [len(a) > 0 and len(b) > 0 and bool(a[-1] == b[0]) for a, b in pairwise(batches)]
    return 2 * sum(kept) >= len(kept) or bool((labels[1:] >= labels[:-1]).all())


def _is_a_class(record: Record, seen: Pass) -> bool:
    """Whether the only label that was seen is one class of several, and learned: a data set without labels gives the same number for every image."""
    has_others = seen.has_classes or not seen.exhausted
    is_learned = record.loss_saw_labels or any(fit.is_cross_entropy for fit in record.fits)
    return has_others and is_learned and (record.classes or 1) > 1


def _distinct(labels: Tensor) -> int:
    return len(set(labels.tolist()))


def _same_order(record: Record) -> Iterator[Finding]:
    again = _begins_anew(record)
    if again is not None:
        yield again
        return
    passes = [each for each in record.train_passes() if len(each.labels) >= 2]
    evidence: dict[str, object] | None = None
    differ = False  # a data set may draw at random, whatever its sampler does
    for first, second in pairwise(passes):
        a, b = torch.cat(first.labels), torch.cat(second.labels)
        count = min(len(a), len(b))
        differ = differ or not torch.equal(a[:count], b[:count])
        if (
            count >= 30
            and _distinct(a[:count]) > 1
            and _shuffled_looks_different(a[:count])
            and torch.equal(a[:count], b[:count])
            and _are_images_alike(first, second, a[:count])
        ):
            evidence = {"samples_in_the_same_order": count, "epochs_compared": 2}
            break
    batches = getattr(record.loader, "batch_sampler", None)
    is_plain, sampler = type(batches) is BatchSampler, getattr(batches, "sampler", None)
    is_sequential = is_plain and type(sampler) is SequentialSampler and (record.epoch or 0) > 1 and bool(passes)
    if evidence is None and (differ or not is_sequential):
        return
    yield SAME_ORDER.found(
        Text(
            f"The training loader gives the same {evidence['samples_in_the_same_order']} labels in the same order in two epochs: it does not shuffle."
            if evidence
            else "The training loader has a sequential sampler: it does not shuffle.",
            f"学習用ローダーが2つのエポックで同じ{evidence['samples_in_the_same_order']}個のラベルを同じ順序で返しています。シャッフルされていません。"
            if evidence
            else "学習用ローダーのサンプラーはSequentialSamplerです。シャッフルされていません。",
        ),
        evidence or {"sampler": "SequentialSampler"},
    )


def _begins_anew(record: Record) -> Finding | None:
    """`next(iter(loader))` at each step: every pass is broken off, and all of them began alike."""
    passes = [each for each in record.train_passes() if each.labels]
    if len(passes) < 5 or (record.epoch or 2) < 2 or any(each.exhausted for each in passes):
        return None
    first, longest = passes[0].labels[0], max(each.batches for each in passes)
    is_alike = all(
        torch.equal(each.labels[0], first) and _are_images_alike(passes[0], each, first) for each in passes[1:]
    )
    if not is_alike or len(first) < 8 or _distinct(first) < 2 or not _shuffled_looks_different(first):
        return None
    return replace(SAME_ORDER, why=_ONE_BATCH, advice=_GO_ON, code=_GOES_ON).found(
        Text(
            f"The training loader was begun {len(passes)} times, broken off after {counted(longest, 'batch', 'batches')} at most, and gave the same "
            f"{len(first)} labels first each time: what comes later in it is never seen.",
            f"学習用ローダーの反復が{len(passes)}回始まり、毎回最大{longest}バッチで打ち切られています。先頭の{len(first)}個のラベルは毎回同じで、"
            "その先の画像は一度も使われていません。",
        ),
        {"passes": len(passes), "batches_of_the_longest_pass": longest, "samples_in_the_same_order": len(first)},
    )


def _are_images_alike(first: Pass, second: Pass, labels: Tensor) -> bool:
    """Whether two passes that began with the same labels began with the same images too: by their pixels, where any image came back as it was; else
    by the labels, but for those that a sampler lays out in each batch alike (some images of each class), whatever it draws."""
    count, size = min(len(first.pixels), len(second.pixels), len(labels)), len(first.labels[0])
    a, b = first.pixels[:count], second.pixels[:count]
    common = len(set(a) & set(b))
    if 10 * common >= count > 0:
        return 2 * sum(x == y for x, y in zip(a, b, strict=False)) > common
    is_ascending = bool((labels[1:] >= labels[:-1]).all())
    return not is_ascending and not any(
        torch.equal(labels[every:], labels[:-every]) for every in range(size, len(labels) // 2 + 1, size)
    )


def _shuffled_looks_different(labels: Tensor) -> bool:
    """Whether the labels are mixed enough for two shuffled epochs never to agree."""
    return max(Counter(labels.tolist()).values()) < 0.9 * len(labels)  # negative ones too: ignore_index


def _part(record: Record) -> Iterator[Finding]:
    whole = [each for each in record.passes if each.phase == "val" and each.exhausted and each.samples]
    total = _length(record.val_loader)
    if not whole or total is None or hasattr(getattr(record.val_loader, "sampler", None), "num_replicas"):
        return
    last: Pass = whole[-1]
    if last.samples >= total:
        return
    dropped = bool(getattr(record.val_loader, "drop_last", False))
    yield PART.found(
        Text(
            f"Validation goes through {last.samples} of {counted(total, 'sample')}{' (drop_last=True)' if dropped else ''}.",
            f"検証で使われているのは{total}枚中{last.samples}枚です{'（drop_last=True）' if dropped else ''}。",
        ),
        {"evaluated": last.samples, "samples": total, "drop_last": dropped},
    )


def _length(loader: Any) -> int | None:
    """How many samples a loader is meant to go through: its sampler's, for a subset may be meant; its dataset's where that is all."""
    for name in ("sampler", "dataset"):
        try:
            return len(getattr(loader, name))
        except (TypeError, AttributeError, NotImplementedError):
            continue
    return None
