"""Dropout that a model's own `train` or `eval` leaves on. In goes a patient, whose flags the doctor has set itself, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vitscope._core.text import Text
from vitscope.doctor.copying import copied
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import Patient

RANDOM = Fault(
    "random-in-evaluation",
    "M27",
    "determinism",
    "error",
    Text(
        "In evaluation each prediction is another one, and noisier than the model has to be: measured accuracy is too "
        "low and differs from run to run.",
        "評価のたびに予測が変わり、本来より雑音の多い結果になります。測定される正解率は低めに出て、実行ごとに異なります。",
    ),
    Text(
        "switch the noise off in evaluation: functional dropout takes `training=self.training`, a fused attention its `dropout_p` from it, and "
        "layers are made in the constructor",
        "評価時には乱数を使わないようにしてください。関数形式のドロップアウトには`training=self.training`を渡し、アテンションの`dropout_p`もそれに応じて"
        "切り替え、層はコンストラクタで作ってください",
    ),
    "F.dropout(x, self.p, training=self.training)\n"
    "F.scaled_dot_product_attention(q, k, v, dropout_p=self.p if self.training else 0.0)",
)


_CALL_EVAL = Text(
    "let train(mode) and eval() hand the mode on to every layer: call super().train(mode) last, and switch on nothing behind it; dropout that is "
    "meant to stay on (Monte Carlo dropout) is switched on where it is used",
    "train(mode)とeval()は、そのモードをすべての層に伝えるようにしてください。super().train(mode)を最後に呼び、その後で層を学習モードに戻さないでください。"
    "意図的に有効にする場合（モンテカルロドロップアウト）は、使う側で切り替えます",
)


def left_on(patient: Patient) -> Iterator[Finding]:
    """What still draws after the model's own eval(), though each layer by itself would not."""
    model = copied(patient.model)
    for module in model.modules():
        module.training = True
    try:
        model.eval()
        on = [name for name, module in model.named_modules() if module.training and not list(module.children())]
        images = patient.images[: patient.batch or (1 if patient.is_large else 2)]
        first, again = (patient.quiet_scores(images, model, seed=seed) for seed in (0, 1)) if on else (None, None)
    except Exception:  # whatever an eval of somebody's own says
        return
    if first is None or again is None or patient.same(first, again):
        return
    change = patient.apart(first, again)
    by = [name for name in on if "Drop" in type(model.get_submodule(name)).__name__] or on
    yield replace(RANDOM, advice=_CALL_EVAL, code="def train(self, mode=True):\n    return super().train(mode)").found(
        Text(
            f"After model.eval() {listed(by)} {'is' if len(by) == 1 else 'are'} still in training mode, because the model overrides train() or "
            f"eval(): the same images get other scores each time (off by {change:.2g} of their size).",
            f"モデルがtrain()またはeval()を上書きしているため、model.eval()を呼んでも{listed(by)}が学習モードのままです。"
            f"同じ画像のスコアが毎回変わります（相対的な差{change:.2g}）。",
        ),
        {"largest_change": change, "modules": by},
    )
