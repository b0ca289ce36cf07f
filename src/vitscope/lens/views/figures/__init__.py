"""The views as pictures for papers: in goes what a view found, out comes a matplotlib figure. Scales are shared within a figure and printed.

Nothing is stretched for each head by itself: a head that looks at nothing in particular looks like it. Each figure carries its caveat.
"""

from vitscope.lens.views.figures.charts import (
    draw_distance,
    draw_entropy,
    draw_likeness,
    draw_logit_lens,
    draw_norms,
    draw_shuffling,
    draw_spectrum,
)
from vitscope.lens.views.figures.maps import (
    draw_attention,
    draw_attribution,
    draw_filters,
    draw_patches,
    draw_positions,
    draw_removal,
)

__all__ = [
    "draw_attention",
    "draw_attribution",
    "draw_distance",
    "draw_entropy",
    "draw_filters",
    "draw_likeness",
    "draw_logit_lens",
    "draw_norms",
    "draw_patches",
    "draw_positions",
    "draw_removal",
    "draw_shuffling",
    "draw_spectrum",
]
