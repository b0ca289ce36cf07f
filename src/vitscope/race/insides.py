"""What stands inside of a block: a patient in, the biases of its queries, keys and values, its MLP and its norms out, in words. All of it is read off
the tape, so a bias that is added by an operation of its own counts, and an activation or a norm that is written by hand.
"""

from __future__ import annotations

from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.patient import Patient
from vitscope.lens.attention import Attention
from vitscope.lens.flow import projections
from vitscope.lens.operations import CONVOLUTIONS, NORMS, PRODUCTS, SUMS, VIEWS, factors
from vitscope.lens.tape import Call, Source
from vitscope.race.structure_texts import NOT_FOUND

ACTIVATIONS = frozenset(
    {
        "gelu",
        "relu",
        "silu",
        "mish",
        "elu",
        "selu",
        "celu",
        "tanh",
        "sigmoid",
        "hardswish",
        "leaky_relu",
        "hardsigmoid",
        "hardtanh",
    }
    | {
        "softplus",
        "prelu",
        "_prelu_kernel",
        "rrelu",
        "relu6",
        "log_sigmoid_forward",
        "threshold",
        "glu",
        "erf",
        "sin",
        "clamp_min",
    }
)
ADDING = frozenset({"addmm", "baddbmm"}) | CONVOLUTIONS
"""Products that add a bias by themselves."""
NORMS_BY_HAND = frozenset({"rsqrt", "var", "var_mean", "std", "std_mean", "linalg_vector_norm", "native_group_norm"})
"""What a norm that is written out of means and roots cannot do without."""


def attention_bias(patient: Patient) -> Text:
    """Whether queries, keys and values get a bias."""
    biases = _biases(patient, patient.attentions[0])
    return Text("with bias", "バイアスあり") if any(biases) else Text("without bias", "バイアスなし")


def bias_numbers(patient: Patient) -> int:
    """How many numbers the biases of queries, keys and values hold in all blocks."""
    total = 0
    for attention in patient.attentions:
        sizes = _biases(patient, attention)
        # two products make queries and keys; values are a third
        total += sum(sizes) + (sizes[0] if len(sizes) == 2 else 0)
    return total


def _biases(patient: Patient, attention: Attention) -> list[int]:
    """The size of the bias of each product that makes queries and keys; 0 where it has none."""
    found = projections(patient.tape, attention.begins)
    return [_bias(patient, call) for call in patient.tape.calls if call.number in found]


def _bias(patient: Patient, product: Call) -> int:
    """How many numbers are added to what a product gives: by itself, or by a sum behind nothing but views."""
    if product.name in ADDING:
        return _vector(patient, product)
    width, same = int(product.outputs[0].shape[-1]), {product.number}
    for call in patient.tape.calls[product.number + 1 :]:
        comes = [source for source in call.sources if source.call is not None and source.call.number in same]
        if comes and call.name in VIEWS:
            same.add(call.number)
        elif comes and call.name in SUMS:
            added = _vector(patient, call)
            if added == width:
                return added
    return 0


def _vector(patient: Patient, call: Call) -> int:
    """The size of the vector, no function of the image, among what goes in; 0 where there is none."""
    constant = [source.tensor for source in call.sources if not patient.tape.is_of_image(source)]
    return next((x.numel() for x in constant if x.ndim and x.numel() == x.shape[-1]), 0)


def mlp(patient: Patient) -> Text:
    """The widths of the MLP of the first block and its activation."""
    block = patient.anatomy.blocks[0]
    if block.after_mlp is None or block.after_attention is None:
        return NOT_FOUND
    inside = patient.tape.calls[block.after_attention.number : block.after_mlp.number]
    products = [call for call in inside if call.name in PRODUCTS]
    if not products:
        return NOT_FOUND
    hidden, width = int(factors(products[-1])[0].tensor.shape[-1]), int(products[-1].outputs[0].shape[-1])
    act = next((name for name in (_plain(call) for call in inside) if name in ACTIVATIONS), None)
    gated = any(_is_gate(patient, call, hidden) for call in inside)
    widths = [hidden] if gated else [int(call.outputs[0].shape[-1]) for call in products[:-1]]
    words = " → ".join(map(str, [width, *widths, width]))  # what goes in is as wide as what is added to it
    gate = Text(", gated", "、ゲート付き") if gated else Text("", "")
    return Text(f"{words}{gate.en}, {act or 'no activation'}", f"{words}{gate.ja}、{act or '活性化関数なし'}")


def _plain(call: Call) -> str:
    """An operation's name; `relu_` writes in place what `relu` gives."""
    return call.name.rstrip("_")


def _is_gate(patient: Patient, call: Call, hidden: int) -> bool:
    """Whether one half of the hidden numbers is multiplied with the other; x · sigmoid(x) is of the same numbers twice, and is none."""
    if _plain(call) == "glu":
        return True
    both = [source for source in call.sources if patient.tape.is_of_image(source)]
    if _plain(call) != "mul" or len(both) != 2 or any(int(source.tensor.shape[-1]) != hidden for source in both):
        return False
    one, other = (_made_of(source, hidden) for source in both)
    return not {id(each) for each in one} & {id(each) for each in other}


def _made_of(source: Source, hidden: int) -> list[Tensor]:
    """The tensors of that width that one was made of, number by number, itself among them."""
    found, waiting = [source.tensor], [source]
    while waiting:
        call = waiting.pop().call
        if call is None or call.name in PRODUCTS | CONVOLUTIONS:
            continue
        for each in call.sources:
            if each.tensor.ndim > 1 and each.tensor.shape[-1] == hidden and not any(each.tensor is x for x in found):
                found.append(each.tensor)
                waiting.append(each)
    return found


def norms(patient: Patient) -> Text:
    """Where the norms of the blocks stand."""
    blocks = patient.anatomy.blocks
    if any(block.is_post_norm for block in blocks):
        return Text("behind the sums (post-norm)", "加算の後（post-norm）")
    first = min((block.enters.number for block in blocks if block.enters is not None), default=None)
    last = max((block.leaves.number for block in blocks if block.leaves is not None), default=None)
    if first is None or last is None:
        return NOT_FOUND
    inside = patient.tape.calls[first + 1 : last]
    if not any(call.name in NORMS | NORMS_BY_HAND for call in inside):
        return Text("none", "なし")
    return Text("before attention and MLP (pre-norm)", "アテンションとMLPの前（pre-norm）")
