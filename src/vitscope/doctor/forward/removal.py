"""The fix in code where something stands behind the head: what to leave out, by the name that users know. In go a fault and an operation of torch's,
out comes the fault with its code."""

from __future__ import annotations

from dataclasses import replace

from vitscope.doctor.finding import Fault

_NAMES = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "elu": "ELU",
    "gelu": "GELU",
    "silu": "SiLU",
    "mish": "Mish",
    "_softmax": "softmax",
    "clamp_min": "clamp",
    "clamp_max": "clamp",
    "native_layer_norm": "LayerNorm",
    "native_group_norm": "GroupNorm",
    "_fused_rms_norm": "RMSNorm",
    "native_batch_norm": "BatchNorm",
    "_native_batch_norm_legit_no_training": "BatchNorm",
    "linalg_vector_norm": "normalisation",
    "norm": "normalisation",
}
"""What differs from torch's own word for the operation."""


def without(fault: Fault, operation: str) -> Fault:
    """The fault with code that leaves an operation out; one that has no name is left out in silence."""
    name = operation.rstrip("_")
    comment = f"   # no {_NAMES.get(name, name)}" if name else ""
    return replace(fault, code=f"return self.head(x){comment}")
