"""Whether training images are augmented and validation images are not. In go two sets, out come findings."""

from __future__ import annotations

from collections.abc import Iterator

from vitscope._core.text import Text
from vitscope.doctor.data.seen import DIGESTED, Again, Seen, digest, picked
from vitscope.doctor.data.sets import Sets
from vitscope.doctor.finding import Fault, Finding, Skipped

SMALL = 100_000
"""Training images, below which a ViT from scratch needs augmentation."""
CHECK = "data-augmentation"
NOT_AUGMENTED = Fault(
    "no-augmentation",
    "D1",
    CHECK,
    "warning",
    Text(
        "A ViT knows nothing of pictures at the start: on a small set that never changes it learns the images by heart, and training "
        "accuracy runs far "
        "ahead of validation accuracy.",
        "ViTは最初、画像について何の知識も持ちません。小さく変化のないデータでは画像を丸暗記してしまい、学習画像の正解率だけが検証画像の正解率を大きく上回ります。",
    ),
    Text(
        "add random crops and flips (where a mirrored image keeps its class), and RandAugment, mixup or cutmix for long trainings; nothing "
        "to do where "
        "images are augmented later, on the GPU or in the model",
        "ランダムクロップと左右反転（反転してもクラスが変わらない場合）を加え、長く学習するときはRandAugment、mixup、cutmixも使ってください。"
        "この後GPU上やモデル内で拡張しているなら、対応は不要です",
    ),
    "transforms.Compose([transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalise])",
)
VALIDATION_AUGMENTED = Fault(
    "validation-augmented",
    "D2",
    CHECK,
    "warning",
    Text(
        "Validation on images that are changed at random measures another task each time, and too low: the numbers jump, and the best epoch "
        "is chosen by "
        "chance.",
        "毎回ランダムに変えられた画像で検証すると、測るたびに別の問題を解くことになり、正解率は低めに出ます。値がばらつき、最良のエポックが偶然で決まってしまいます。",
    ),
    Text(
        "give validation its own data set object with its own transform: random_split shares one object, so setting .dataset.transform changes both",
        "検証用に別のデータセットオブジェクトと変換を用意してください。random_splitは同じオブジェクトを共有するため、.dataset.transformを設定すると両方が変わります",
    ),
    "train = Subset(CIFAR10(root, transform=augmenting), train_indices)\nval = Subset(CIFAR10(root, transform=plain), val_indices)",
)


def data_augmentation(sets: Sets) -> Iterator[Finding]:
    """Whether training images change from one time to the next, and validation images do not.

    Does: asks a data set for the same 64 images twice (through the loader's own collate function), or goes through a loader twice and counts the
    images that come back pixel by pixel, beside how many should if nothing were done to them.
    Finds: a small training set without augmentation (D1), validation images that are augmented (D2); where both sets stand on one data set object it
    says so, for then one transform serves both.
    Must not accuse: large sets, streams, loaders that can be read once only, sets that hold mirrored copies of their images, validation that is only
    shuffled. Augmentation on the GPU cannot be seen from here, so the first is a warning that says so.
    """
    shared = _share_one_object(sets)
    if sets.train.is_table:
        yield from _of_table(sets)
        return
    validation = sets.validation
    if validation is not None and validation.again is not None and _changes(validation.again):
        yield _validation_augmented(validation.again, shared=shared)
    train = sets.train
    if train.again is None:
        raise Skipped(
            train.why_not_again or Text("nothing was read twice", "同じ画像を2回読み込めなかったため、比べられません")
        )
    if (
        train.again.share >= 0.8
        and train.again.same >= 4
        and not _is_large(train)
        and not _holds_mirrored_copies(train)
    ):
        yield _not_augmented(train, train.again, shared=shared)


def _of_table(sets: Sets) -> Iterator[Finding]:
    if sets.augment is None:
        raise Skipped(
            Text(
                "the images were looked at before anything is done to them; a recipe says what is",
                "加工前の画像を調べたため、拡張の有無はレシピを見ないと分かりません",
            ),
            is_left_out=True,
        )
    steps = sets.augment.model_dump(exclude={"switch_probability", "mix_probability"})
    if not any(steps.values()) and not _is_large(sets.train):
        total = len(sets.train) if sets.train.total is None else sets.train.total
        yield NOT_AUGMENTED.found(
            Text(
                f"The recipe does nothing to its {total:,} training images.",
                f"レシピは{total:,}枚の学習画像に何の拡張も行いません。",
            ),
            {"images": total},
        )


def _is_large(train: Seen) -> bool:
    """Over the bar; a loader that does not tell its length and was not read to its end counts as large."""
    return train.total is None or train.total > SMALL


def _changes(again: Again) -> bool:
    """Whether images come back changed, beyond chance where others are drawn each time."""
    missing = again.expected - again.same
    return missing > 0.1 * again.expected and missing > 4 * (
        again.expected**0.5 if again.expected < again.compared else 0.25
    )


def _share_one_object(sets: Sets) -> bool:
    return sets.validation is not None and sets.train.base is not None and sets.train.base is sets.validation.base


def _holds_mirrored_copies(train: Seen) -> bool:
    """Whether a set was augmented before it was stored: one image in ten has its mirror image beside it."""
    if min(train.images.shape[-2:]) == 0 or train.images.shape[-1] > DIGESTED or train.images.shape[-2] > DIGESTED:
        return False
    known = set(train.digests)
    mirrored = [digest(each) for each in picked(train.images[:500].flip(-1), DIGESTED).contiguous().numpy()]
    own = train.digests[: len(mirrored)]
    twins = sum(m is not None and m != o and m in known for m, o in zip(mirrored, own, strict=True))
    return twins >= 0.1 * len(mirrored)


def _not_augmented(train: Seen, again: Again, *, shared: bool) -> Finding:
    also = Text(
        " Training and validation stand on one data set object: a transform that is set for one is set for both.",
        "学習と検証が同じデータセットオブジェクトを使っているため、一方に設定した変換は両方に効きます。",
    )
    return NOT_AUGMENTED.found(
        Text(
            f"Asked for a second time, {again.same} of {again.compared} training images came back pixel by pixel the same, and there are only "
            f"{train.total:,}." + also.en * shared,
            f"2回目に読み込んだ学習画像{again.compared}枚のうち{again.same}枚が、1回目と画素まで同じでした。画像は全部で{train.total:,}枚しかありません。"
            + also.ja * shared,
        ),
        {
            "images": train.total,
            "compared": again.compared,
            "same": again.same,
            "expected_if_unchanged": again.expected,
            "one_data_set_object": shared,
        },
    )


def _validation_augmented(again: Again, *, shared: bool) -> Finding:
    changed = again.compared - again.same
    drawn = again.expected < again.compared
    also = Text(
        " It stands on the same data set object as training, so it has the transform of training.",
        "学習用と同じデータセットオブジェクトを使っているため、学習用の変換がかかっています。",
    )
    summary = Text(
        f"Asked for a second time, {changed} of {again.compared} validation images came back changed.",
        f"2回目に読み込むと、検証画像{again.compared}枚のうち{changed}枚が変わっていました。",
    )
    if drawn:
        summary = Text(
            f"In a second pass {again.same} validation images came back the same, where {again.expected:.0f} should.",
            f"2回目の読み込みで同じだった検証画像は{again.same}枚で、変化がなければ{again.expected:.0f}枚になるはずです。",
        )
    return VALIDATION_AUGMENTED.found(
        Text(summary.en + also.en * shared, summary.ja + also.ja * shared),
        {
            "compared": again.compared,
            "same": again.same,
            "expected_if_unchanged": again.expected,
            "one_data_set_object": shared,
        },
    )
