"""Whether both sets number their classes alike, by the names that they tell, else by their pictures. In go two sets, out comes at most one finding;
how one is read by the other stands in `across`."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from vitscope._core.text import Text
from vitscope.doctor.data.across import Across, read_across
from vitscope.doctor.data.seen import Seen, tally
from vitscope.doctor.data.sets import Sets
from vitscope.doctor.finding import Fault, Finding

LISTED = 10
"""Classes that a sentence tells."""
OTHERWISE = Fault(
    "classes-numbered-otherwise",
    "D7",
    "data-labels",
    "error",
    Text(
        "What a model rightly learns to call one class is measured as another: the better it learns these classes, the further validation accuracy "
        "falls below chance.",
        "モデルが正しく学習しても、検証では別のクラスとして採点されます。これらのクラスでは、よく学習するほど検証画像の正解率がチャンスレベルを下回ります。",
    ),
    Text(
        "number the classes of both sets by one table, that of the training set: where each folder is numbered by its own names, one that is "
        "missing or written otherwise moves all that follow; where the numbers are right, look whether validation images are turned, mirrored or "
        "negative",
        "両方のデータのクラス番号を、学習データと同じ1つの対応表で付けてください。フォルダごとに名前順で番号を付けると、フォルダが1つ欠けたり名前の表記が違ったりするだけで、"
        "それ以降の番号がすべてずれます。番号が正しい場合は、検証画像が回転・左右反転・階調反転していないか確認してください",
    ),
    'train, val = ImageFolder("train"), ImageFolder("val")\nassert val.class_to_idx == train.class_to_idx',
    explains=("classes-without-validation-images", "scores-without-images"),
)


def numbered_by_name(sets: Sets) -> Finding | None:
    """Classes that go by one name and two numbers, where both data sets tell their names."""
    if sets.validation is None:
        return None
    train, validation = _numbers_by_name(sets.train), _numbers_by_name(sets.validation)
    moved = [name for name, number in train.items() if validation.get(name, number) != number]
    return _named_otherwise(train, validation, moved) if moved else None


def numbered_otherwise(sets: Sets) -> Iterator[Finding]:
    """Validation images that a probe of the training images takes for other classes, each for one of its own."""
    train, validation = sets.train, sets.validation
    if validation is None or train.sample_labels is None or validation.sample_labels is None:
        return
    found = read_across((train.images, train.sample_labels), (validation.images, validation.sample_labels))
    if found is not None:
        yield _told(found)


def _numbers_by_name(seen: Seen) -> dict[str, int]:
    """The table by which a data set numbers its classes (`ImageFolder` has one); none where labels are not those that the table gives."""
    table, targets = getattr(seen.base, "class_to_idx", None), getattr(seen.base, "targets", None)
    if not isinstance(table, dict) or not isinstance(targets, list) or seen.numbers is None:
        return {}
    if getattr(seen.base, "target_transform", None) is not None or not all(type(each) is int for each in targets):
        return {}
    given, stored = tally(seen.numbers), tally(torch.tensor(targets, dtype=torch.long))
    is_own = given == stored or (len(seen) != len(targets) and given.keys() <= stored.keys())
    return table if is_own else {}


def _named_otherwise(train: dict[str, int], validation: dict[str, int], moved: list[str]) -> Finding:
    shown = [f"{name} {train[name]}→{validation[name]}" for name in moved[:LISTED]]
    more = f" … ({len(moved)})" if len(moved) > LISTED else ""
    return OTHERWISE.found(
        Text(
            f"{len(moved)} class{'es' * (len(moved) != 1)} of one name {'have' if len(moved) != 1 else 'has'} another number in validation than in "
            f"training (training → validation: {', '.join(shown)}{more}).",
            f"同じ名前の{len(moved)}クラスで、学習と検証の番号が異なります（学習→検証：{'、'.join(shown)}{more}）。",
        ),
        {
            "renumbered_classes": [[validation[name], train[name]] for name in moved],
            "in_training_only": sorted(train.keys() - validation.keys())[:20],
            "in_validation_only": sorted(validation.keys() - train.keys())[:20],
        },
    )


def _told(found: Across) -> Finding:
    pairs = list(found.pairs.items())
    shown = [f"{one}→{other}" for one, other in pairs[:LISTED]]
    more = f" … ({len(pairs)})" if len(pairs) > LISTED else ""
    renumbered, as_numbered = f"{found.renumbered:.1%}", f"{found.as_numbered:.1%}"
    return OTHERWISE.found(
        Text(
            f"To a probe of the training images, validation images of {len(pairs)} classes look like other classes (validation → training: "
            f"{', '.join(shown)}{more}): so renumbered it tells {renumbered} of them right, as they are numbered {as_numbered}.",
            f"学習画像から作った簡単な判別法では、検証画像の{len(pairs)}クラスがそれぞれ別のクラスに見えます"
            f"（検証→学習：{'、'.join(shown)}{more}）。この対応で番号を付け直すと正解率は{renumbered}、今の番号のままでは{as_numbered}です。",
        ),
        {
            "images": found.images,
            "renumbered_classes": [list(pair) for pair in pairs],
            "accuracy_renumbered": found.renumbered,
            "accuracy_as_numbered": found.as_numbered,
            "accuracy_within_validation": found.within,
        },
        severity="error"
        if len(pairs) > 2
        else "warning",  # two may be a shortcut that validation turns round on purpose
    )
