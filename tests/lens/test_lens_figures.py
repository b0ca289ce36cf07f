"""Figures: one scale for all panels, printed; the numbers are the view's; words and caveat in the language asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lens_samples import OURS, tiny_image
from torch import nn

from vitscope._core import pictures
from vitscope.lens.trace import Trace, trace
from vitscope.lens.views import figures
from vitscope.lens.views.attending import attention_distance, attention_entropy, attention_rollout
from vitscope.lens.views.attribution import attribution
from vitscope.lens.views.embedding import patch_filters, patches, positions
from vitscope.lens.views.experiments import logit_lens, removal, shuffling
from vitscope.lens.views.tokens import token_likeness, token_norms
from vitscope.model.create import create_model

LABELS = [f"class {number}" for number in range(10)]
DRAWN: dict[str, Callable[[Trace, Any], Any]] = {
    "attention": lambda found, lang: figures.draw_attention(found, 1, 0, lang),
    "positions": lambda found, lang: figures.draw_positions(positions(found), found.layout.grid, lang),
    "filters": lambda found, lang: figures.draw_filters(patch_filters(found), lang),
    "distance": lambda found, lang: figures.draw_distance(attention_distance(found), lang),
    "entropy": lambda found, lang: figures.draw_entropy(attention_entropy(found), lang),
    "norms": lambda found, lang: figures.draw_norms(token_norms(found), lang),
    "likeness": lambda found, lang: figures.draw_likeness(token_likeness(found), lang),
    "logit lens": lambda found, lang: figures.draw_logit_lens(logit_lens(found), LABELS, lang),
    "removal": lambda found, lang: figures.draw_removal(removal(found), "class 3", lang),
    "patches": lambda found, lang: figures.draw_patches(patches(found), 4, lang),
    "spectrum": lambda found, lang: figures.draw_spectrum(positions(found), lang),
    "shuffling": lambda found, lang: figures.draw_shuffling(shuffling(found), LABELS, lang),
    "attribution": lambda found, lang: figures.draw_attribution(
        attribution(found, steps=4), attention_rollout(found), found, "class 3", lang
    ),
}


@pytest.fixture(scope="module")
def found() -> Trace:
    torch.manual_seed(0)
    model = create_model("vit-ti4-32", **OURS)
    nn.init.normal_(model.head.weight)
    return trace(model, tiny_image())


def words_of(figure: Any) -> str:
    texts = [
        text.get_text()
        for panel in figure.axes
        for text in (*panel.texts, panel.title, panel.xaxis.label, panel.yaxis.label)
    ]
    texts += [panel.get_title(loc="left") for panel in figure.axes]
    texts += [text.get_text() for text in (figure._supxlabel, figure._suptitle) if text is not None]
    return "\n".join(texts)


def scales_of(figure: Any) -> set[tuple[float, float]]:
    return {tuple(image.get_clim()) for panel in figure.axes for image in panel.images}


@pytest.mark.parametrize("name", DRAWN)
def test_each_is_written_and_says_what_it_is_in_both_languages(
    found: Trace, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "japanese_font", lambda: "DejaVu Serif")  # takes the place of one
    english, japanese = DRAWN[name](found, "en"), DRAWN[name](found, "ja")
    pictures.save(english, path_svg=tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size > 1000
    assert not any("ぁ" <= letter <= "ん" for letter in words_of(english))
    assert any("ぁ" <= letter <= "ん" for letter in words_of(japanese))


@pytest.mark.parametrize("name", ["attention", "positions", "removal", "filters"])
def test_all_panels_share_one_scale(found: Trace, name: str) -> None:
    assert len(scales_of(DRAWN[name](found, "en"))) == 1


def test_the_scale_of_attention_begins_at_zero_and_ends_at_the_largest_share(found: Trace) -> None:
    weights = found["block01/attention"][:, 0, 1:]
    ((low, high),) = scales_of(DRAWN["attention"](found, "en"))
    assert (low, high) == (0, pytest.approx(float(weights.max())))


def test_a_panel_shows_the_numbers_of_its_head(found: Trace) -> None:
    figure = DRAWN["attention"](found, "en")
    shown = torch.tensor(figure.axes[2].images[0].get_array().data)
    assert torch.equal(shown, found["block01/attention"][2, 0, 1:].view(4, 4))
    assert figure._suptitle.get_text() == "what the class token looks at, block 1"
    assert "map · v gives the module's own output to within" in words_of(figure)


def test_a_patch_is_named_by_its_place(found: Trace) -> None:
    figure = figures.draw_attention(found, 0, 7, "en")
    assert figure._suptitle.get_text() == "what the patch in row 2, column 3 looks at, block 0"


def test_removal_has_zero_in_the_middle(found: Trace) -> None:
    ((low, high),) = scales_of(DRAWN["removal"](found, "en"))
    assert low == -high < 0


def test_removal_of_blocks_alone_is_one_panel(found: Trace) -> None:
    blocks = removal(found, each_head=False)
    assert blocks.heads is None
    assert torch.equal(blocks.blocks, removal(found).blocks)
    figure = figures.draw_removal(blocks, "class 3", "en")
    assert [len(panel.images) for panel in figure.axes[:-1]] == [1]


def test_patches_stand_in_their_places_on_one_scale(found: Trace) -> None:
    figure = DRAWN["patches"](found, "en")
    image = found["image"]
    height, width = (side // 4 for side in image.shape[1:])
    shown = torch.tensor(figure.axes[6].images[0].get_array().data)  # row 2, column 3
    span = image.max() - image.min()
    assert torch.allclose(
        shown.permute(2, 0, 1).float(),
        (image[:, height : 2 * height, 2 * width : 3 * width] - image.min()) / span,
        atol=1e-6,
    )
    assert f"{float(image.min()):.3g} to {float(image.max()):.3g}" in words_of(figure)


def test_rollout_stands_beside_the_gradients_with_their_error(found: Trace) -> None:
    gradients, rollout = attribution(found, steps=4), attention_rollout(found)
    figure = figures.draw_attribution(gradients, rollout, found, "class 3", "en")
    left, right = (torch.tensor(panel.images[0].get_array().data) for panel in figure.axes[:2])
    assert torch.equal(left, rollout.shares[0, 1:].view(4, 4))
    assert gradients.patches is not None
    assert torch.equal(right, gradients.patches.view(4, 4))
    assert figure.axes[1].images[0].get_clim() == (-float(right.abs().max()), float(right.abs().max()))
    assert f"{100 * gradients.error:.2g} %" in words_of(figure)


def test_shuffling_shows_both_orders_with_position_and_without(found: Trace) -> None:
    view = shuffling(found)
    figure = figures.draw_shuffling(view, LABELS, "en")
    heights = [[bar.get_height() for bar in group] for group in figure.axes[0].containers]
    best = view.with_position[0].topk(5).indices
    probabilities = view.with_position.softmax(dim=-1)[:, best]
    assert torch.allclose(torch.tensor(heights), probabilities.double(), atol=1e-6)
    still = float((view.without_position[0] - view.without_position[1]).abs().max())
    assert f"up to {still:.2g}" in words_of(figure)
