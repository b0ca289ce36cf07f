"""Whether a model can learn a few images by heart: the catch-all, whose plateau says what is wrong. In goes a patient, out comes a finding."""

from __future__ import annotations

from collections.abc import Iterator
from math import exp, isfinite, log
from typing import NamedTuple

from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.forward.dropout import draws_in_training
from vitscope.doctor.forward.shapes import refuse_not_finite
from vitscope.doctor.forward.tail import floor_of_width
from vitscope.doctor.learning.training import Course, guessing, small_set, train
from vitscope.doctor.patient import Patient
from vitscope.doctor.reading.blindness import is_blind

IMAGES, IMAGES_OF_LARGE = 32, 8
STEPS = 150
TARGET = 0.05
BLIND_STEPS, AT_CHANCE = 50, 1.0005
"""Of a model whose scores do not depend on the picture: enough to show where its loss stays, and how near to guessing is there."""
RATES = (1e-3, 3e-4, 1e-4)
"""Tried in turn, so that a model that does not stand the first is not taken for one that cannot learn."""
LEARNED = 0.5
"""Under this share of the loss of guessing a model has learned, if slowly: all healthy ones of the tests end under 0.05 or nearly there."""
FLOORS = {"softmax / sigmoid": 1.0, "tanh": 2.0}
"""How far scores can be apart behind functions that bound them."""
STRONG = 0.3
"""Dropout under this is not tried out. With 0.4 after every layer a small ViT still learns in three times as many steps, with 0.5 it does not."""
_WHY = Text(
    "A model that cannot learn a few images by heart cannot learn many: something in it is wrong, whatever the data.",
    "数枚の画像さえ丸暗記できないモデルは、大量の画像も学習できません。データに関係なく、モデルのどこかに誤りがあります。",
)

NOTHING_LEARNS = Fault(
    "nothing-learns",
    "T13",
    "overfit",
    "error",
    Text(
        "No parameter gets a gradient that is not zero, so no training changes anything.",
        "ゼロでない勾配を受け取るパラメータが1つもないため、どのように学習しても何も変わりません。",
    ),
    Text(
        "look for detach(), torch.no_grad(), argmax or an integer conversion between the parameters and the scores",
        "パラメータからスコアまでの間にあるdetach()、torch.no_grad()、argmax、整数への変換を探してください",
    ),
)
GUESSING = Fault(
    "loss-stays-at-guessing",
    "T13",
    "overfit",
    "warning",
    _WHY,
    Text(
        "the scores end up the same for every image: look at what the head reads, and whether it meets the patches",
        "どの画像でもスコアが同じになっています。ヘッドが何を読み、それがパッチの情報を受け取っているかを確認してください",
    ),
)
FLOOR = Fault(
    "loss-stops-at-a-floor",
    "T13",
    "overfit",
    "warning",
    Text(
        "The loss has a floor that no training passes: the scores are squeezed before they reach it.",
        "スコアが損失に渡る前に押し込められているため、どれだけ学習しても損失が一定の下限より下がりません。",
    ),
    Text(
        "return the scores as the last Linear gives them, without softmax, sigmoid or tanh",
        "softmax、sigmoid、tanhを通さず、最後のLinearの出力をそのまま返してください",
    ),
    "return self.head(x)",
)
CANNOT = Fault(
    "cannot-overfit",
    "T13",
    "overfit",
    "warning",
    _WHY,
    Text(
        "mend what other checks found first; else look at the gradient of each block, at norms and at the size of the start values",
        "まずほかのチェックで見つかった問題を修正してください。なければ、各ブロックの勾配、正規化、初期値の大きさを確認してください",
    ),
)
DROPOUT = Fault(
    "dropout-too-strong",
    "L11",
    "overfit",
    "warning",
    Text(
        "So much is dropped that what the model could learn does not get through: training is slow and ends low, above all on small sets.",
        "落とされる割合が大きすぎて、学習できるはずの情報が伝わりません。特に小さなデータでは学習が遅く、正解率も低くなります。",
    ),
    Text(
        "take 0 to 0.1; against overfitting use augmentation, weight decay and stochastic depth",
        "0から0.1にしてください。過学習にはデータ拡張、重み減衰、stochastic depthで対処します",
    ),
    "nn.Dropout(0.1)",
)


def overfit(patient: Patient) -> Iterator[Finding]:
    """Whether it can learn 32 images by heart.

    Does: trains copies on images with random labels, all in each step, in evaluation mode (no dropout), with Adam at 1e-3 and, where that fails,
    at lower rates; compares where the loss ends with the plateaus of known faults. Where dropout is 0.3 or more, once more in training mode.
    Finds: models that cannot learn at all, that do not see the image, whose scores are squeezed (M12, M13), dropout that is too strong (L11).
    Must not accuse: models that stand no large step, heads and branches that start at zero, frozen backbones.
    Source: Karpathy, A Recipe for Training Neural Networks, 2019: overfit one batch.
    """
    if patient.is_large and not patient.deep:
        raise Skipped(
            Text(
                "a large model takes minutes to train even on a few images; --deep does it",
                "大きなモデルは数枚の画像でも学習に数分かかります。--deepを付けると実行します",
            ),
            is_left_out=True,
        )
    refuse_not_finite(patient)
    _refuse_frozen(patient)
    images, labels = small_set(patient, IMAGES_OF_LARGE if patient.is_large else IMAGES)
    chance = guessing(labels, patient.loss)
    courses: dict[float, Course] = {}
    sees = not is_blind(patient) or not is_blind(patient.trained)
    for lr in RATES if sees else RATES[:1]:  # what never sees an image learns none at any rate
        steps, target = (STEPS, TARGET) if sees else (BLIND_STEPS, AT_CHANCE * chance)
        course = courses[lr] = train(patient, images, labels, lr, steps=steps, target=target)
        if course.largest_gradient == 0 or _floor(patient, course) is not None or _has_learned(course, chance):
            break
        if course.out_of_time or patient.time_left() <= 0:
            raise Skipped(_out_of_time(courses))
        if len(courses) > 1 and all(_is_guessing(patient, each, chance) for each in courses.values()):
            break
    lr, course = min(courses.items(), key=lambda each: each[1].best)
    if _floor(patient, course) is None and _has_learned(course, chance):
        yield from _dropout(patient, course, lr, images, labels, chance)
        return
    yield _plateau(patient, course, lr, chance)


def _has_learned(course: Course, chance: float) -> bool:
    """Whether it ended low, or is on a slow way down."""
    falls = (
        course.steps == STEPS and course.best < 0.9 * chance and course.losses[-1] < 0.95 * course.losses[-STEPS // 4]
    )
    return course.best < LEARNED * chance or falls


def _refuse_frozen(patient: Patient) -> None:
    sizes = [(p.numel(), p.requires_grad) for p in patient.model.parameters()]
    frozen = sum(size for size, learns in sizes if not learns)
    if frozen > 0.5 * sum(size for size, _ in sizes):
        raise Skipped(
            Text(
                "most of the parameters are frozen, so what the rest can learn by heart says little",
                "パラメータの大半が固定されているため、残りで丸暗記できるかどうかは判断材料になりません",
            ),
            is_left_out=True,
        )


def _out_of_time(courses: dict[float, Course]) -> Text:
    steps = sum(course.steps for course in courses.values())
    best = min(course.best for course in courses.values())
    return Text(
        f"the time ran out after {steps} steps, at a loss of {best:.2f}; --deep on a faster machine, or a smaller model, gets further",
        f"{steps}ステップで時間切れになりました（損失{best:.2f}）。より速いマシンで--deepを付けるか、より小さなモデルで試してください",
    )


def _is_guessing(patient: Patient, course: Course, chance: float) -> bool:
    """Whether the scores have ended up the same for every image."""
    apart = patient.apart(course.scores[:1].expand_as(course.scores), course.scores)
    return apart < 1e-3 and course.best > 0.98 * chance


class _Held(NamedTuple):
    """By what a loss is held up."""

    floor: float
    spread: float
    """The largest that is seen between two scores of one image."""
    why: Text


def _floor(patient: Patient, course: Course) -> _Held | None:
    """What holds the loss up where it has come to rest just over a floor of bounded scores; None where none does."""
    if course.best < TARGET:
        return None
    scores, classes = course.scores, patient.classes
    spread = float((scores.max(dim=-1).values - scores.min(dim=-1).values).max())
    if patient.loss == "bce-with-logits":  # of one class at 1 and all others at 0
        floor, is_between = log(1 + exp(-1)) + (classes - 1) * log(2), bool(((scores >= 0) & (scores <= 1)).all())
        why = Text("the scores stay between 0 and 1 (sigmoid)", "スコアが0から1の間に限られているため（sigmoid）")
        return _Held(floor, spread, why) if is_between and course.best < floor + 0.5 else None
    for name, width in FLOORS.items() if patient.loss in (None, "cross-entropy") else ():
        floor = floor_of_width(classes, width)
        if floor - 1e-3 < course.best < floor + 0.15 and 0.8 * width < spread < width + 1e-3:
            why = Text(
                f"an image's scores are never more than {width:.0f} apart ({name})",
                f"画像1枚のスコアの差が{width:.0f}を超えることがないため（{name}）",
            )
            return _Held(floor, spread, why)
    return None


def _plateau(patient: Patient, course: Course, lr: float, chance: float) -> Finding:
    """Where it ended, named."""
    end, first, count = course.best, course.losses[0], len(course.scores)
    evidence = {
        "first_loss": first,
        "lowest_loss": end,
        "loss_of_guessing": chance,
        "ln_classes": log(patient.classes),
        "steps": course.steps,
        "learning_rate": lr,
        "images": count,
        "largest_gradient": course.largest_gradient,
    }
    said = f"After {course.steps} steps on {count} images the loss is {end:.4f}"
    said_ja = f"{count}枚の画像で{course.steps}ステップ学習した後の損失は{end:.4f}です"
    if course.largest_gradient == 0:
        en, ja = (
            "every gradient is exactly zero, so it cannot change",
            "すべての勾配がちょうどゼロなので、これ以上変わりません",
        )
        return NOTHING_LEARNS.found(Text(f"{said}: {en}.", f"{said_ja}。{ja}。"), evidence)
    if _is_guessing(patient, course, chance):
        return GUESSING.found(_told_as_guessing(patient, course, chance), evidence)
    held = _floor(patient, course)
    if held is not None:
        en = f"and cannot fall under {held.floor:.4f}: {held.why.en}"
        ja = f"{held.why.ja}、損失は{held.floor:.4f}より下がりません"
        more = {"floor": held.floor, "largest_spread_of_scores": held.spread}
        return FLOOR.found(Text(f"{said}, {en}.", f"{said_ja}。{ja}。"), {**evidence, **more})
    diverged = not isfinite(course.losses[-1])
    en = f"healthy models are under {TARGET} by then, and guessing gives {chance:.2f}"
    ja = f"健全なモデルならこの時点で{TARGET}を下回ります（チャンスレベルは{chance:.2f}）"
    return CANNOT.found(
        Text(
            f"{said}; {en}.{' It became NaN or infinite.' if diverged else ''}",
            f"{said_ja}。{ja}。{'損失はNaNまたは無限大になりました。' if diverged else ''}",
        ),
        evidence,
    )


def _told_as_guessing(patient: Patient, course: Course, chance: float) -> Text:
    """The loss beside that of guessing, which on a few labels is not the one that a reader knows."""
    count, even = len(course.scores), log(patient.classes)
    is_other = patient.loss in (None, "cross-entropy", "nll") and abs(chance - even) > 5e-4
    en = f" (ln {patient.classes} = {even:.3f} is that of labels spread evenly over all classes)" if is_other else ""
    ja = f"。ラベルが全クラスに均等ならln {patient.classes} = {even:.3f}" if is_other else ""
    return Text(
        f"After {course.steps} steps on {count} images the loss is {course.best:.3f}. Guessing on these {count} labels gives {chance:.3f}{en}: "
        "the scores are the same for every image.",
        f"{count}枚の画像で{course.steps}ステップ学習した後の損失は{course.best:.3f}で、チャンスレベル（この{count}枚のラベルでは{chance:.3f}{ja}）の"
        "ままです。スコアはどの画像でも同じです。",
    )


def _dropout(
    patient: Patient, course: Course, lr: float, images: Tensor, labels: Tensor, chance: float
) -> Iterator[Finding]:
    """Whether training mode cannot learn what evaluation mode has learned, in three times as many steps."""
    draws = draws_in_training(patient)
    strongest = max(draws, key=lambda draw: draw.p, default=None)
    if strongest is None or strongest.p < STRONG:
        return
    steps = max(60, 3 * course.steps)
    again = train(patient, images, labels, lr, steps=steps, target=TARGET, dropout=True, patience=steps)
    if again.out_of_time:
        raise Skipped(
            Text(
                "the time ran out before dropout was tried in training mode",
                "学習モードでドロップアウトを試す前に時間切れになりました",
            )
        )
    left = sum(again.losses[-5:]) / len(again.losses[-5:])
    if again.reached or left < 1.5 * TARGET:
        return
    yield DROPOUT.found(
        Text(
            f"Without dropout the model learns {len(labels)} images by heart in {course.steps} steps; with it (up to {100 * strongest.p:.0f} %, in "
            f"{strongest.path}) the training loss is still {left:.2f} after {again.steps} (guessing: {chance:.2f}).",
            f"ドロップアウトなしなら{course.steps}ステップで{len(labels)}枚を丸暗記できますが、ドロップアウト（最大{100 * strongest.p:.0f} %、"
            f"{strongest.path}）があると{again.steps}ステップ後も学習時の損失は{left:.2f}です（チャンスレベルは{chance:.2f}）。",
        ),
        {
            "p": strongest.p,
            "module": strongest.path,
            "steps_without": course.steps,
            "steps_with": again.steps,
            "loss_with": left,
        },
    )
