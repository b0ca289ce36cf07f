"""torch's operations by what they do to numbers, as the tape names them. No state."""

from __future__ import annotations

from vitscope.lens.tape import Call, Source

FUSED = "_scaled_dot_product"
"""What the names of all of torch's fused attentions begin with."""
PRODUCTS = frozenset({"mm", "bmm", "baddbmm", "addmm"})
CONVOLUTIONS = frozenset({"convolution", "mkldnn_convolution", "_convolution", "convolution_overrideable"})
POOLINGS = frozenset({"max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d"})
SOFTMAX = frozenset({"_softmax", "_safe_softmax"})
EXPONENTIALS = frozenset({"exp", "exp_", "exp2", "exp2_"})
NORMS = frozenset({"native_layer_norm", "_fused_rms_norm", "native_batch_norm", "_native_batch_norm_legit_no_training"})
DROPOUTS = frozenset({"native_dropout", "dropout"})
SUMS = frozenset({"add", "add_"})
RESIDUALS = SUMS | {"sub", "sub_", "lerp", "lerp_", "addcmul", "addcmul_"}
"""What may bring a branch back to the tokens: one plus, minus or weighed against the other."""
VIEWS = frozenset(
    {"view", "_unsafe_view", "reshape", "_reshape_alias", "expand", "permute", "transpose", "t", "unsqueeze", "squeeze"}
    | {"detach", "alias", "clone", "contiguous", "_to_copy", "slice", "select", "unbind", "split", "split_with_sizes"}
    | {"lift_fresh", "as_strided", "unfold", "im2col"}
)
"""The numbers stay what they are, if they stay."""
MOVES = frozenset({"flip", "roll", "index", "index_select", "gather", "pixel_shuffle", "pixel_unshuffle"})
"""The numbers stay what they are, in another order."""
SCALES = frozenset(
    {"mul", "mul_", "div", "div_", "add", "add_", "sub", "sub_", "masked_fill", "masked_fill_", "where", "clamp", "neg"}
    | {"nan_to_num", "tanh", "sigmoid"}
)
"""Number by number, as scaling and masking do."""


def factors(product: Call) -> tuple[Source, Source]:
    """The two that a product is of; `baddbmm` and `addmm` have what is added in front."""
    return product.sources[-2], product.sources[-1]
