"""A loss that is that of guessing after whole epochs. In goes the record of a loop, out comes at most one finding, which anything else that is wrong
explains."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import mean, stdev
from typing import NamedTuple

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.loop.record import Record

GUESSING = Fault(
    "loss-never-leaves-guessing",
    "D7",
    "loop-data",
    "note",
    Text(
        "Labels that were shuffled, or that belong to other images, look just like this from inside a loop: there is nothing to learn. So does a set "
        "that is hard, or a model that does not see its images.",
        "ラベルがシャッフルされている、または別の画像のものになっている場合、学習できるものがないため、ループからはこのように見えます。難しいデータや、"
        "画像が見えていないモデルでも同じようになります。",
    ),
    Text(
        "see whether the labels belong to their images: examine_data trains small probes on them; if it finds nothing, examine the model "
        "(vitscope.diagnose)",
        "ラベルが画像と対応しているか、examine_dataで確認してください（小さなプローブを学習させて調べます）。何も見つからなければ、モデルを"
        "vitscope.diagnoseで検査してください",
    ),
    "from vitscope.doctor.data import examine_data\nprint(examine_data(loader, val_loader))",
)
EPOCHS, STEPS, FITS, IMAGES, FEWEST = 2, 50, 20, 30, 4
"""How many whole epochs, steps, cross-entropies, images of each class, and cross-entropies of a third of the steps it takes to tell."""
BETTER, PACE = 0.97, 0.15
"""The share of the loss of guessing below which something was learned (the whole of it where validation was not seen), and the sum of the steps,
beside the weights' size, that it takes to learn."""
ELSEWHERE = ("loop-settings",)
"""Checks of which no finding holds a loss at that of guessing."""
SAME = ("loss-does-not-move", "learning-rate-too-high")
"""Notes that say the same with a cause."""


class _Validation(NamedTuple):
    loss: float
    right: float
    images: int


def guessing(record: Record) -> Iterator[Finding]:
    """The loss neither left that of guessing nor falls, at steps that would move it; validation, where it was seen, is no better."""
    fits = [fit for fit in record.fits if fit.is_cross_entropy]
    passes, count = record.train_passes(), len(record.steps)
    through = sum(each.exhausted for each in passes)
    if len(fits) < max(FITS, 0.8 * len(record.fits)) or through < EPOCHS or count < STEPS or not _would_learn(record):
        return
    shares, guess = _guess(record)
    if guess <= 0 or sum(each.samples for each in passes) < IMAGES * len(shares):
        return
    middle = [fit.entropy for fit in fits if count <= 3 * fit.step < 2 * count]
    last = [fit.entropy for fit in fits if 3 * fit.step >= 2 * count]
    if len(middle) < FEWEST or len(last) < FEWEST:
        return
    noise = stdev(middle + last) * math.sqrt(1 / len(middle) + 1 / len(last))
    validation = _last_validation(record)
    falls = mean(middle) - mean(last) > 2 * noise
    least = guess if validation is None else BETTER * guess
    if mean(last) < least or falls or _knows(validation, guess, max(shares)):
        return
    yield _found(record, guess, mean(last), through, len(shares), validation)


def unexplained(findings: Sequence[Finding]) -> list[Finding]:
    """Without that note where anything else that was found may hold the loss there."""
    is_explained = any(
        each.id in SAME or (each.severity != "note" and each.check not in ELSEWHERE) for each in findings
    )
    return [each for each in findings if not is_explained or each.id != GUESSING.id]


def _guess(record: Record) -> tuple[list[float], float]:
    """The share of each class among the labels that were kept, and the loss of answering these shares to all; that of even shares, which is larger,
    where the labels are too few to tell."""
    kept = [label for each in record.train_passes()[:3] for batch in each.labels for label in batch.tolist()]
    counts = Counter(label for label in kept if label >= 0)
    shares = [count / counts.total() for count in counts.values()]
    if len(shares) < 2:
        return shares, 0.0
    entropy = -sum(share * math.log(share) for share in shares)
    return shares, entropy if counts.total() >= 20 * len(shares) else math.log(max(record.classes or 0, len(shares)))


def _would_learn(record: Record) -> bool:
    """Whether most of the model is trained, the rate does not rise any more, and the steps add up to something."""
    sizes = {name: p.numel() for name, p in record.model.named_parameters()}
    trained = {name for name, p in record.model.named_parameters() if p.requires_grad} & record.held
    changes = [step.change for step in record.steps if step.change is not None]
    rates = record.rates
    if not rates or not changes or sum(sizes[name] for name in trained) <= 0.5 * sum(sizes.values()):
        return False
    is_rising = rates[-1] >= 0.999 * max(rates) and rates[0] < 0.9 * max(rates)
    return not is_rising and mean(changes) * len(record.steps) > PACE


def _last_validation(record: Record) -> _Validation | None:
    """The last batches that were validated without a step between them."""
    if not record.validated:
        return None
    batches = [each for each in record.validated if each.step == record.validated[-1].step]
    count = sum(int(each.count) for each in batches)
    if not count:
        return None
    loss, right = (sum(float(x) for x in of) / count for of in zip(*((b.loss, b.right) for b in batches), strict=True))
    return _Validation(loss, right, count)


def _knows(validation: _Validation | None, guess: float, largest: float) -> bool:
    """Whether validation is clearly better than guessing: by its loss, or by more right answers than the largest class has."""
    if validation is None:
        return False
    spread = 3 * math.sqrt(largest * (1 - largest) / validation.images)
    return validation.loss < BETTER * guess or validation.right > largest + spread


def _found(
    record: Record, guess: float, last: float, through: int, classes: int, validation: _Validation | None
) -> Finding:
    en, ja = (
        f"In {len(record.steps)} steps, {through} whole epochs, the loss has not left that of guessing ({guess:.3g} with {classes} classes as "
        f"frequent as here): it is {last:.3g} in the last third.",
        f"{len(record.steps)}ステップ（{through}エポック）学習しても、損失がチャンスレベル（{classes}クラスのこの分布では{guess:.3g}）から"
        f"下がっていません。最後の3分の1の平均は{last:.3g}です。",
    )
    evidence: dict[str, object] = {"loss_of_guessing": guess, "last_loss": last, "epochs": through, "classes": classes}
    if validation is not None:
        en += f" On the validation images it is {validation.loss:.3g}, and {100 * validation.right:.3g} % of them are right."
        ja += f"検証画像での損失は{validation.loss:.3g}、正解率は{100 * validation.right:.3g} %です。"
        evidence |= {"val_loss": validation.loss, "val_acc": 100 * validation.right}
    return GUESSING.found(Text(en, ja), evidence)
