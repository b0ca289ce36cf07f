"""Whether a model says the same twice. In goes a patient, out comes at most one finding, which names what draws."""

from __future__ import annotations

from collections.abc import Iterator

from vitscope._core.text import Text
from vitscope.doctor.copying import copied
from vitscope.doctor.finding import Finding
from vitscope.doctor.forward.overridden import RANDOM, left_on
from vitscope.doctor.forward.shapes import refuse_not_finite
from vitscope.doctor.forward.training import training_mode
from vitscope.doctor.forward.unable import unable_to_train
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import Patient
from vitscope.lens.flow import ancestors
from vitscope.lens.operations import FUSED
from vitscope.lens.tape import Call, Tape

DRAWS = frozenset(
    {"native_dropout", "bernoulli", "bernoulli_", "rand", "rand_like", "randn", "randn_like", "randint", "randint_like"}
    | {"uniform_", "uniform", "normal", "normal_", "normal_functional", "exponential_", "random_", "multinomial"}
    | {"geometric_", "log_normal_", "cauchy_", "poisson", "randperm", "rrelu_with_noise", "_fused_dropout"}
)
"""torch's operations that give other numbers each time."""
_ORDERS = frozenset({"argsort", "sort", "topk", "randperm", "multinomial"})
_DROPS = frozenset({"native_dropout", "bernoulli", "bernoulli_", "_fused_dropout"})


def determinism(patient: Patient) -> Iterator[Finding]:
    """Whether two forwards of the same images give the same scores, and whether training mode is the same model but for its noise.

    Does: forwards in evaluation mode under different seeds; what differs is sought among the operations on the way to the scores. A forward in
    training mode with every dropout off, beside one in evaluation mode: what learns, what the scores are, and of which image.
    Finds: dropout and other noise that evaluation mode does not switch off (M27); in training mode only: scores of other images, a softmax,
    parameters that are left out, an error (T19), dropout that lets little or nothing through, or acts twice in a row (L11).
    Must not accuse: layers that are off in evaluation; rounding; numbers that are kept between calls, which `forward` finds; training mode that
    gives a second head's scores, masks, mixes or leaves out by chance. Tokens or layers that are chosen at random are a warning.
    Source: torch.nn.functional.dropout and scaled_dot_product_attention, whose defaults know no evaluation mode.
    """
    refuse_not_finite(patient)
    change = _largest_change(patient)
    if change == 0:
        yield from left_on(patient)
        failing = list(unable_to_train(patient))
        yield from failing or training_mode(patient)
    if change == 0 or _only_counts(patient):
        return
    size = patient.batch or 1
    drawing, is_choice = _drawing(patient)
    names = list(dict.fromkeys(_named(call) for call in drawing))
    paths = list(dict.fromkeys(call.path or "the model" for call in drawing))
    if drawing:
        where = f"{', '.join(names[:3])} in {listed(paths)}"
        en = f" Numbers are drawn by {where}."
        ja = f"乱数を生成しているのは{listed(paths)}の{'、'.join(names[:3])}です。"
    else:
        en = " No operation of torch draws them: they come from random, numpy, the time, or from what the model keeps between calls."
        ja = "torchの演算による乱数ではありません。random、numpy、時刻、または呼び出し間で保持される値が原因です。"
    yield RANDOM.found(
        Text(
            f"In evaluation mode the same {'image gets' if size == 1 else 'images get'} other scores each time (off by "
            f"{change:.2g} of their size).{en}",
            f"評価モードなのに、同じ画像のスコアが毎回変わります（相対的な差{change:.2g}）。{ja}",
        ),
        {"largest_change": change, "drawn_by": names, "modules": paths},
        severity="warning" if is_choice else "error",
    )


def _named(call: Call) -> str:
    if call.name.startswith(FUSED):
        return "attention with dropout_p"
    return f"dropout ({call.name})" if call.name in _DROPS else call.name


def is_random(patient: Patient) -> bool:
    """Whether the scores of the same images differ from one forward to the next."""
    return _largest_change(patient) > 0


def _largest_change(patient: Patient) -> float:
    """How far scores are apart under different seeds, 0 where that is rounding. Where something draws, several are tried: it may be rare."""
    known = patient._known.get("change_by_seed")
    if isinstance(known, float):
        return known
    images = patient.images[: patient.batch or (1 if patient.is_large else 2)]
    first = patient.quiet_scores(images, seed=0)
    change = 0.0
    for seed in range(1, 2 + 6 * bool(_drawn(patient.tape))):
        again = patient.quiet_scores(images, seed=seed)
        if not patient.same(first, again):
            change = patient.apart(first, again)
            break
    patient._known["change_by_seed"] = change
    return change


def _only_counts(patient: Patient) -> bool:
    """Whether nothing is drawn and copies that were never called agree: the scores follow what the model keeps between calls."""
    if _drawn(patient.tape):
        return False
    images = patient.images[: patient.batch or 1]
    first, second = (patient.quiet_scores(images, copied(patient.model), seed=seed) for seed in (0, 1))
    return patient.same(first, second)


def _drawn(tape: Tape) -> list[Call]:
    """The operations of a forward that draw."""
    return [call for call in tape.calls if call.name in DRAWS or (call.name.startswith(FUSED) and _drops(call))]


def _drops(fused: Call) -> bool:
    names = [argument.name for argument in fused.op._schema.arguments]
    given = dict(zip(names, fused.args, strict=False)) | fused.kwargs
    return float(given.get("dropout_p") or 0) > 0


def _drawing(patient: Patient) -> tuple[list[Call], bool]:
    """Those on the way to the scores, dropout first, which is nearly always it; and whether all that they do is choose: which tokens go on, or, where
    no number of theirs reaches the scores, which layers run."""
    tape = patient.tape
    drawn = _drawn(tape)
    ends = [c for c in tape.calls if c.outputs and c.outputs[0].shape == (patient.batch or 1, patient.classes)]
    way = ancestors(ends[-1]) if ends else {call.number for call in drawn}
    reaching = [call for call in drawn if call.number in way]
    if not reaching:
        return drawn, bool(drawn)
    named = [call for call in reaching if call.name in _DROPS or call.name.startswith(FUSED)] or reaching
    return named, all(_chooses(tape, call) for call in reaching)


def _chooses(tape: Tape, call: Call) -> bool:
    """Whether what is drawn only puts tokens in an order."""
    if call.name in _ORDERS:
        return True
    users = tape.users(call)
    return bool(users) and all(user.name in _ORDERS or _chooses_next(tape, user) for user in users)


def _chooses_next(tape: Tape, call: Call) -> bool:
    return call.name in {"view", "clone", "detach", "_to_copy"} and all(u.name in _ORDERS for u in tape.users(call))
