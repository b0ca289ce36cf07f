"""The pictures of one image in one model for a paper: a `Look` in, PNG and SVG files out, each with its caveat and its scale."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vitscope._core.pictures import save
from vitscope._core.text import Lang
from vitscope.lens.views import figures
from vitscope.report.looking.gather import has_places
from vitscope.report.looking.look import Look

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_figures(look: Look, folder: Path, lang: Lang = "en") -> list[Path]:
    """Writes every picture that the model allows; the files, PNG before SVG.

    Raises:
        RunError: the folder cannot be written.
    """
    written: list[Path] = []
    for name, draw in _figures(look, lang):
        png, svg = folder / f"{name}.png", folder / f"{name}.svg"
        save(draw(), png, svg)
        written += [png, svg]
    return written


def _figures(look: Look, lang: Lang) -> Iterator[tuple[str, Callable[[], Figure]]]:
    views, trace, labels = look.views, look.trace, look.labels
    down, across = trace.layout.grid
    if (cut := views.patches) is not None:
        yield "patches", lambda: figures.draw_patches(cut, across, lang)
    if (filters := views.filters) is not None:
        yield "patch-embedding-filters", lambda: figures.draw_filters(filters, lang)
    if (positions := views.positions) is not None:
        yield "position-similarity", lambda: figures.draw_positions(positions, (down, across), lang)
        yield "position-spectrum", lambda: figures.draw_spectrum(positions, lang)
    if (shuffling := views.shuffling) is not None:
        yield "shuffled-patches", lambda: figures.draw_shuffling(shuffling, labels, lang)
    if has_places(trace):
        token = trace.class_token if trace.class_token is not None else trace.layout.token_of_patch[0]
        for block in range(len(trace.anatomy.blocks)):
            yield (
                f"attention-block{block:02}",
                partial(figures.draw_attention, trace, block, token, lang),
            )
    if (distance := views.distance) is not None:
        yield "attention-distance", lambda: figures.draw_distance(distance, lang)
    if (entropy := views.entropy) is not None:
        yield "attention-entropy", lambda: figures.draw_entropy(entropy, lang)
    if (norms := views.norms) is not None:
        yield "token-norms", lambda: figures.draw_norms(norms, lang)
    if (likeness := views.likeness) is not None:
        yield "token-likeness", lambda: figures.draw_likeness(likeness, lang)
    if (lens := views.logit_lens) is not None:
        yield "logit-lens", lambda: figures.draw_logit_lens(lens, labels, lang)
    if (removal := views.removal) is not None:
        yield "removal", lambda: figures.draw_removal(removal, labels[removal.target], lang)
    attribution, rollout = views.attribution, views.rollout
    if attribution is not None and rollout is not None and has_places(trace):
        yield (
            "attribution",
            lambda: figures.draw_attribution(attribution, rollout, trace, labels[attribution.target], lang),
        )
