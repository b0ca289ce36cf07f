"""What a forward leaves behind: in its input, in the model, in memory. In goes a patient, out come findings of the check `forward`."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from vitscope._core.text import Text
from vitscope.doctor.copying import all_modules, copied, moved
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.patient import CPU, SAME, Patient
from vitscope.lens.randomness import seed_cpu

CALLS = 5
"""How often the model is called to see whether something grows."""
_TORCHS_OWN = frozenset(vars(nn.Module()))

WRITES_INTO_INPUT = Fault(
    "writes-into-its-input",
    "M28",
    "forward",
    "warning",
    Text(
        "Whoever uses the images again gets other numbers: the next epoch of a cached set, a second model, a figure.",
        "同じ画像をもう一度使うと（キャッシュしたデータの次のエポック、別のモデル、図の作成など）、値が変わってしまっています。",
    ),
    Text("compute out of place", "インプレース演算をやめ、新しいテンソルに計算してください"),
    "x = x - self.mean   # not x -= self.mean",
)
KEEPS_STATE = Fault(
    "state-kept-between-calls",
    "M28",
    "forward",
    "warning",
    Text(
        "In evaluation a prediction should depend on nothing but the image: with numbers that follow the calls, the order of the images changes "
        "the results and the saved model.",
        "評価時の予測は画像だけで決まるべきです。呼び出しのたびに変わる値があると、画像の順番によって結果や保存されるモデルが変わります。",
    ),
    Text(
        "update such numbers only `if self.training`, or keep them outside of the model",
        "そのような値の更新は`if self.training`のときだけにするか、モデルの外で管理してください",
    ),
    "if self.training:\n    self.running_mean.lerp_(x.detach().mean(0), 0.1)",
)
GROWS = Fault(
    "memory-grows-with-each-call",
    "M28",
    "forward",
    "warning",
    Text(
        "What each call keeps is never freed: training ends, after some hundred steps, with out of memory (sooner if the graph is kept with it).",
        "呼び出しのたびに残るテンソルは解放されません。数百ステップ後にはメモリ不足で学習が止まります（計算グラフごと残る場合はさらに早く）。",
    ),
    Text(
        "return what should be looked at, or take it with a hook; do not append it to a list",
        "確認したい値は戻り値にするか、フックで取り出してください。リストに追加し続けないでください",
    ),
    "return scores, attention   # instead of self.maps.append(attention)",
)


def left_behind(patient: Patient) -> Iterator[Finding]:
    """What changes in the input, in the model and in memory. On a copy: the patient stays as it is."""
    with torch.no_grad():
        found = list(_left_behind(patient))
    yield from found


def _left_behind(patient: Patient) -> Iterator[Finding]:
    model, dtype = copied(patient.model), patient.dtype
    if patient.is_large and dtype == torch.float64:  # traces are the same in half of the time
        model, dtype = moved(model, CPU, torch.float32), torch.float32
    size = patient.batch or (1 if patient.is_large else 2)
    images, others = patient.images[:size].to(dtype, copy=True), patient.noise(size, seed=3).to(dtype)
    given = images.clone()
    seed_cpu(0)
    model(given)  # a model may fill a table at its first call
    if given.shape != images.shape or not torch.equal(given, images):
        yield _written(images, given)
    yield from _kept(patient, model, images, others)
    yield from _growing(model, images[: 1 if patient.batch is None else size], 3 if patient.is_large else CALLS)


def _written(images: Tensor, given: Tensor) -> Finding:
    share = float((given != images).double().mean()) if given.shape == images.shape else 1.0
    return WRITES_INTO_INPUT.found(
        Text(
            f"The forward writes into the images that it is given: afterwards {100 * share:.1f} % of their pixels hold other values.",
            f"順伝播が入力画像を直接書き換えています。実行後、画素の{100 * share:.1f} %の値が変わっています。",
        ),
        {"share_of_pixels_changed": share},
    )


def _kept(patient: Patient, model: nn.Module, images: Tensor, others: Tensor) -> Iterator[Finding]:
    before = _numbers(model)
    first = patient.scores(images, model)
    patient.scores(others, model)
    again = patient.scores(images, model)
    after = _numbers(model)
    changed = [name for name, value in after.items() if name in before and not _equal(before[name], value)]
    apart = patient.apart(first, again) if first.shape == again.shape else float("inf")
    drifts = apart > SAME[first.dtype]
    if not changed and not drifts:
        return
    names = f" ({', '.join(changed[:3])}{' …' if len(changed) > 3 else ''})" if changed else ""
    en = f"In evaluation mode the forward changes {len(changed)} of the model's own tensors{names}." if changed else ""
    ja = (
        f"評価モードの順伝播で、モデル自身のテンソル{len(changed)}個{names.replace(' (', '（').replace(')', '）')}が書き換えられています。"
        if changed
        else ""
    )
    if drifts:
        en += f" With other images in between, the same images get other scores (off by {apart:.2g})."
        ja += f"間に別の画像を入力すると、同じ画像のスコアが変わります（相対的な差{apart:.2g}）。"
    yield KEEPS_STATE.found(
        Text(en.strip(), ja), {"changed": changed, "change_of_scores": apart, "scores_change": drifts}
    )


def _numbers(model: nn.Module) -> dict[str, Tensor]:
    """Its parameters and buffers as they are."""
    return {name: value.detach().clone() for name, value in (*model.named_parameters(), *model.named_buffers())}


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(((one == other) | ((one != one) & (other != other))).all())


def _growing(model: nn.Module, images: Tensor, calls: int) -> Iterator[Finding]:
    counts: list[tuple[int, int, int]] = []
    is_ours = gc.get_freeze_count() == 0
    gc.collect()
    if is_ours:
        gc.freeze()  # what is there already is not counted, and not searched
    try:
        for _ in range(calls):
            model(images.clone())
            gc.collect()
            counts.append((*_tensors(), _elements(model)))
    finally:
        if is_ours:
            gc.unfreeze()
    steps = [tuple(b - a for a, b in zip(one, two, strict=True)) for one, two in pairwise(counts)]
    tensors, numbers, elements = (min(step[place] for step in steps) for place in range(3))
    if max(tensors, numbers, elements) <= 0:
        return
    where = _growing_places(model, images)
    what = max(tensors, 0)
    en = f"Each call leaves {what} more tensor{'' if what == 1 else 's'} ({max(numbers, 0):,} numbers) in memory"
    ja = f"呼び出すたびに、メモリ上のテンソルが{what}個（{max(numbers, 0):,}個の数値）ずつ増えていきます"
    if tensors <= 0 and numbers <= 0:
        en, ja = (
            f"Each call leaves {elements} more things in the model's lists",
            f"呼び出すたびに、モデルのリストの要素が{elements}個ずつ増えていきます",
        )
    named = ", ".join(where[:3])
    yield GROWS.found(
        Text(f"{en}{f': {named}' if where else ', outside of the model'}.", f"{ja}（{named or 'モデルの外'}）。"),
        {
            "tensors_per_call": tensors,
            "numbers_per_call": numbers,
            "list_elements_per_call": elements,
            "kept_in": where,
        },
    )


def _tensors() -> tuple[int, int]:
    """How many tensors there are, and how many numbers they hold."""
    alive = [each for each in gc.get_objects() if issubclass(type(each), Tensor)]
    return len(alive), sum(each.numel() for each in alive)


def _elements(model: nn.Module) -> int:
    return sum(_places(model).values())


def _places(model: nn.Module) -> dict[str, int]:
    """How much each attribute of each module holds: things in containers, numbers in plain tensors."""
    sizes: dict[str, int] = {}
    paths = {id(module): path for path, module in model.named_modules()}
    for number, module in enumerate(all_modules(model)):
        path = paths.get(id(module), f"module {number}")
        for name, value in vars(module).items():
            if name not in _TORCHS_OWN and not isinstance(value, nn.Module):
                sizes[f"{path}.{name}".lstrip(".")] = _size(value)
    return sizes


def _size(value: Any, depth: int = 0) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    if depth < 3 and hasattr(value, "__len__") and not isinstance(value, str | bytes | Tensor | nn.Module):
        try:
            held = list(value)
        except Exception:  # whatever it is, it is no container to look into
            return 0
        return len(held) + sum(_size(each, depth + 1) for each in held[:1000])
    return value.numel() if isinstance(value, Tensor) else 0


def _growing_places(model: nn.Module, images: Tensor) -> list[str]:
    before = _places(model)
    model(images.clone())
    return [place for place, size in _places(model).items() if size > before.get(place, 0)]
