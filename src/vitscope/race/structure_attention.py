"""How the attentions of a model work, as the doctor measures them: a patient in, what a row of a structural comparison says out."""

from __future__ import annotations

from collections.abc import Iterable

from vitscope._core.text import Text
from vitscope.doctor.attention.measuring import Measured, measure
from vitscope.doctor.attention.scaling import are_alike
from vitscope.doctor.mixing.batch_axis import attentions_along_the_batch
from vitscope.doctor.mixing.masks import allowed, is_triangular
from vitscope.doctor.patient import Patient
from vitscope.lens.attention import Attention
from vitscope.race.structure_texts import NOT_FOUND


def heads(patient: Patient, width: int) -> Text:
    """Heads × the width of one; `width` is that of the tokens."""
    # along the batch each token is a batch of its own, and so are its heads: those of one token are what the width holds
    along = bool(attentions_along_the_batch(patient))
    kinds = dict.fromkeys(
        (width // int(a.q.shape[-1]) if along else len(a.map), int(a.q.shape[-1])) for a in patient.attentions
    )
    words = [f"{heads} × {each}" for heads, each in kinds]
    return Text(", ".join(words), "、".join(words))


def axis(patient: Patient) -> Text:
    """Along what tokens are compared."""
    along = attentions_along_the_batch(patient)
    return Text("the batch", "バッチ") if along else Text("the tokens", "トークン")


def scale(patient: Patient) -> Text:
    """By what constant scores are multiplied before the softmax."""
    return _several(_scale(measure(patient.tape, each)) for each in patient.attentions)


def _scale(of: Measured) -> Text:
    before, root = of.scaling.before, of.head_width**-0.5
    if before is None:  # learned, normed or unknown
        return NOT_FOUND
    if are_alike(before, root):
        said = Text("1/√(width of a head)", "1/√（ヘッドの幅）")
    elif are_alike(before, 1.0):
        said = Text("none", "なし")
    else:
        said = Text(f"× {before:.3g}", f"× {before:.3g}")
    if of.behind is None:
        return said
    return Text(f"{said.en}, and × {of.behind:.3g} behind the softmax", f"{said.ja}（softmaxの後に× {of.behind:.3g}）")


def softmax(patient: Patient) -> Text:
    """Along what axis the shares of an attention sum to one."""
    return _several(_summed(measure(patient.tape, each)) for each in patient.attentions)


def _summed(of: Measured) -> Text:
    if of.attention.over_keys:
        return Text("over the keys", "キーの軸")
    if of.axis is None:  # something scales them, or nothing makes them shares
        return Text("no sum of one", "合計が1にならない")
    return _AXES.get(of.axis, Text("over another axis than the keys", "キー以外の軸"))


_AXES: dict[str, Text] = {
    "queries": Text("over the queries", "クエリの軸"),
    "heads": Text("over the heads", "ヘッドの軸"),
    "queries and keys": Text("over queries and keys together", "クエリとキーをまとめた軸"),
}


def mask(patient: Patient) -> Text:
    """Whom a token may not attend to."""
    return _several(_closed(patient, each) for each in patient.attentions)


def _closed(patient: Patient, attention: Attention) -> Text:
    pairs = allowed(patient.tape, attention)
    share = 1 - float(pairs.double().mean())
    if not share:
        return Text("none", "なし")
    triangle = is_triangular(pairs)
    if triangle == "later":
        return Text("causal: no token sees a later one", "因果マスク（後のトークンを参照できない）")
    if triangle == "earlier":
        return Text("no token sees an earlier one", "前のトークンを参照できない")
    return Text(f"{100 * share:.3g} % of the pairs closed", f"トークンの組の{100 * share:.3g} %を遮断")


def _several(said: Iterable[Text]) -> Text:
    """What is said of all attentions, each thing once; nothing is said where one could not be followed."""
    kinds = list(dict.fromkeys(said))
    if NOT_FOUND in kinds:
        return NOT_FOUND
    return Text("; ".join(each.en for each in kinds), "、".join(each.ja for each in kinds))
