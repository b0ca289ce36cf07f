"""Whether the loss is computed with the labels that the loader gave beside the images. In go the labels of both kinds, out comes at most one finding.

The labels of a cross-entropy are read from the gradient of its scores, and only held against the loader's where the images are its own, in its order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.loop.record import Record

OTHER_LABELS = Fault(
    "loss-of-other-labels",
    "D7",
    "loop-loss",
    "error",
    Text(
        "Images and labels do not belong together: what is learned is by heart, and validation accuracy stays at chance.",
        "画像とラベルが対応していません。丸暗記はできても、検証の正解率はチャンスレベルのままになります。",
    ),
    Text(
        "give the loss the labels that the loader gave with these images; what the loop does to the order of images, do to that of labels too",
        "画像と一緒にローダーから受け取ったラベルを、そのまま損失に渡してください。ループの中で画像を並べ替える場合は、ラベルも同じ順に並べ替えてください",
    ),
    "for images, labels in loader:\n    loss = F.cross_entropy(model(images), labels)",
    explains=("learning-rate-too-high",),
)
_MEANT = Text(
    "Where the loop means to train on labels of its own, nothing is wrong; otherwise what is learned says nothing about the loader's classes.",
    "独自のラベルで学習する意図なら問題ありません。そうでなければ、ローダーのクラスは学習されません。",
)
_MERGED = Text(
    "Classes that share a label cannot be told apart, and some of the model's scores are of no class.",
    "同じラベルになったクラスは区別できません。また、どのクラスにも対応しない出力が残ります。",
)
_RENUMBERED = Text(
    "It learns all the same; but what compares its scores with the loader's labels, as a validation does, has to number the classes in the same way.",
    "学習自体は問題なく進みますが、検証などでスコアをローダーのラベルと比べるときは、同じ番号に付け替える必要があります。",
)
FEWEST, FEWEST_IMAGES = 5, 48
MOST, ALWAYS = 0.5, 0.99


def other_labels(record: Record) -> Iterator[Finding]:
    """Most labels in the loss are others than those of the loader, and the model has the loader's classes."""
    pairs, classes = record.labels_used, record.classes or 0
    if len(pairs) < FEWEST or 2 * len(pairs) < sum(fit.is_placed for fit in record.fits):
        return
    own, used = torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])
    share = float((own != used).double().mean()) if len(own) else 0.0
    distinct = len(set(own.tolist()))
    is_of_these = len(own) >= FEWEST_IMAGES and distinct >= 2 and 2 * distinct > classes
    if share <= MOST or not is_of_these or int(own.min()) < 0 or int(own.max()) >= classes:
        return
    if all(torch.equal(each, torch.arange(len(each))) for _, each in pairs):
        return  # each image's own place: images are held against each other
    evidence = {"share_of_other_labels": share, "images": len(own), "classes": distinct}
    said = Text(
        f"The loss is a cross-entropy of other labels than the loader gave: they differ for {100 * share:.0f} % of {len(own):,} images.",
        f"損失に使われているラベルが、ローダーのラベルと一致しません（{len(own):,}枚中{100 * share:.0f} %で不一致）。",
    )
    count = _renumbered(own, used)
    fault, severity, more = OTHER_LABELS, OTHER_LABELS.severity, Text("", "")
    if count is not None and count == distinct:
        fault, severity = replace(OTHER_LABELS, why=_RENUMBERED), "note"
        more = Text(
            " Each class always has the same other number.", "どのクラスも、常に同じ別の番号に付け替えられています。"
        )
    elif count is not None:
        fault, severity = replace(OTHER_LABELS, why=_MERGED), "error" if count == 1 else "warning"
        more = Text(
            f" Of {distinct} classes {count} {'is' if count == 1 else 'are'} left.",
            f"{distinct}クラスが{count}クラスにまとめられています。",
        )
    elif 2 * record.reordered > len(pairs):
        more = Text(
            " The loop puts the images of each batch into another order, and not the labels.",
            "ループの中で、各バッチの画像だけが並べ替えられ、ラベルは並べ替えられていません。",
        )
    elif all(torch.equal(a.sort().values, b.sort().values) for a, b in pairs):
        more = Text(
            " In each batch they are the same labels in another order.",
            "どのバッチでも、同じラベルが別の順序で使われています。",
        )
    else:
        fault, severity = replace(OTHER_LABELS, why=_MEANT), "warning"
    yield fault.found(Text(said.en + more.en, said.ja + more.ja), evidence, severity=severity)


def _renumbered(own: Tensor, used: Tensor) -> int | None:
    """How many labels there are in the place of the loader's, where each of these always has the same; None where it has not."""
    into = {label: int(used[own == label].mode().values) for label in sorted(set(own.tolist()))}
    agree = sum(int((used[own == label] == other).sum()) for label, other in into.items())
    return len(set(into.values())) if agree >= ALWAYS * len(own) else None
