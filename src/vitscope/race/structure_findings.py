"""Which of the doctor's findings belong to which row of a structural comparison."""

from __future__ import annotations

FOUND: dict[str, tuple[str, ...]] = {
    "tokens": ("patches-cut-wrong",),
    "position": ("position-blind",),
    "blocks": ("shared-blocks",),
    "heads": (
        "heads-split-across-tokens",
        "heads-merged-across-tokens",
        "attention-between-heads",
        "rows-of-several-tokens",
        "chunked-along-the-tokens",
    ),
    "axis": ("attention-across-the-batch",),
    "scale": (
        "attention-not-scaled",
        "scaled-behind-the-softmax",
        "scaled-by-the-reciprocal",
        "scaled-by-another-number",
        "scaled-twice",
    ),
    "softmax": ("softmax-over-the-wrong-axis",),
    "mask": ("causal-mask", "class-token-masked-from-patches"),
    "mlp": ("mlp-without-activation", "module-never-called"),
    "skips": ("skip-missing", "skip-behind-the-norm", "module-never-called"),
    "final norm": ("final-norm-missing",),
    "end": (
        "softmax-in-the-model",
        "sigmoid-in-the-model",
        "bounded-scores",
        "rectified-scores",
        "dropout-behind-the-head",
    ),
    "dropout": ("random-in-evaluation",),
    "learning": ("read-out-detached", "cut-from-the-graph", "frozen-as-drawn", "frozen-zeros"),
}
"""By the part, the ids."""
