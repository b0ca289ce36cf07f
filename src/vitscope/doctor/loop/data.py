"""What the loaders gave: in which order, and whether all of it. In goes the record of a loop, out come findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, SequentialSampler

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.loop.record import Pass, Record

_WHY = Text(
    "Batches of one class pull the model to that class, and the next ones pull it away: it forgets as fast as it learns.",
    "同じクラスばかりのバッチはモデルをそのクラスへ引き寄せ、次のバッチがそこから引き離します。覚えるそばから忘れてしまいます。",
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
    Finds: batches sorted by class, the same order in two epochs, validation that leaves samples out.
    Must not accuse: shuffled loaders, class-balanced batches, loaders of one batch, validation that is broken off or distributed.
    Source: PyTorch, torch.utils.data
    """
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


def _sorted(record: Record) -> Iterator[Finding]:
    for each in record.train_passes():
        labels = torch.cat(each.labels) if each.labels else torch.empty(0, dtype=torch.long)
        if len(each.labels) < 4 or len(labels) < 40:
            continue
        runs = 1 + int((labels[1:] != labels[:-1]).sum())
        distinct = _distinct(labels)
        if runs > 1.5 * distinct or distinct * 4 > len(labels) or (distinct == 1 and not _is_a_class(record, each)):
            continue
        per_batch = sum(_distinct(batch) for batch in each.labels) / len(each.labels)
        yield SORTED.found(
            Text(
                f"The training images come sorted by class: {len(labels)} in a row have {_counted(distinct, 'class', 'classes')} in "
                f"{_counted(runs, 'run', 'runs')}, a batch {per_batch:.1f} on average.",
                f"学習画像がクラス順に並んでいます。連続する{len(labels)}枚に{distinct}クラスが{runs}個のかたまりで現れ、"
                f"1バッチあたり{per_batch:.1f}クラスしかありません。",
            ),
            {"samples": len(labels), "classes": distinct, "runs": runs, "classes_per_batch": per_batch},
        )
        return


def _is_a_class(record: Record, seen: Pass) -> bool:
    """Whether the only label that was seen is one class of several, and learned: a data set without labels gives the same number for every image."""
    has_others = seen.has_classes or not seen.exhausted
    is_learned = record.loss_saw_labels or any(fit.is_cross_entropy for fit in record.fits)
    return has_others and is_learned and (record.classes or 1) > 1


def _counted(count: int, one: str, several: str) -> str:
    return f"{count} {one if count == 1 else several}"


def _distinct(labels: Tensor) -> int:
    return len(set(labels.tolist()))


def _same_order(record: Record) -> Iterator[Finding]:
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
            f"Validation goes through {last.samples} of {total} samples{' (drop_last=True)' if dropped else ''}.",
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
