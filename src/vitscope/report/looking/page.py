"""The page of one image in one model: a `Look` in, self-contained HTML out. Layout is the template's; here every stage gets its exhibits."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vitscope._core.text import Lang, Text
from vitscope.lens.proofs import Proof
from vitscope.report.art import colour_table, packed, photograph
from vitscope.report.html import asset, number, render, script_data
from vitscope.report.looking.exhibits import SHOWN, Exhibit, Row, pixels_of
from vitscope.report.looking.gather import has_places
from vitscope.report.looking.look import Look
from vitscope.report.looking.stages import StageWords
from vitscope.report.words import WORDS

MOST_SHARES = 24_000_000
"""Numbers of attention that a page holds, a byte each, before heads are averaged; a ViT-B/16 has 5.6 million at 224 pixels, 48 at 384."""


@dataclass(frozen=True)
class Section:
    """A stage as the template takes it."""

    words: StageWords
    numbers: tuple[Row, ...]
    exhibits: tuple[Exhibit, ...]
    proofs: tuple[Proof, ...]
    absent: tuple[Text, ...]


def page_of(look: Look, lang: Lang = "en") -> str:
    """The whole page."""
    views = {
        "patches": ("patches",),
        "patch_embedding": ("filters",),
        "with_position": ("positions", "shuffling"),
        "encoder": ("distance", "entropy", "norms", "likeness"),
        "logits": ("logit_lens", "rollout", "attribution", "removal"),
    }
    sections = []
    for words in look.stages:
        numbers, exhibits = SHOWN[words.key](look, lang)
        absent = tuple(
            dict.fromkeys(look.views.absent[name] for name in views.get(words.key, ()) if name in look.views.absent)
        )
        sections.append(Section(words, numbers, exhibits, look.proofs.get(words.key, ()), absent))
    return render(
        "look.html.j2",
        lang,
        WORDS,
        style=asset("style.css"),
        script=asset("look.js"),
        data=script_data(_script_data(look, lang)),
        title=WORDS["look_title"].format(model=look.subject.name)[lang],
        image_name=look.image_name,
        photograph=photograph(look.picture, 640),
        label=look.label,
        is_right=look.is_right,
        top=look.top(),
        alarms=look.alarms,
        notes=(*look.subject.notes, *_notes(look), *look.views.shortened),
        stages=sections,
        layers=len(look.trace.anatomy.blocks),
        has_positions=look.views.positions is not None,
        intermediates=look.to_dict()["intermediates"],
    )


def _notes(look: Look) -> tuple[Text, ...]:
    """What the lens says, a line said of every block once."""
    said: dict[Text, list[int]] = {}
    for note in look.trace.notes:
        of_block = re.match(r"block (\d+): ", note.en)
        text = note if of_block is None else Text(note.en[of_block.end() :], note.ja.partition(": ")[2])
        said.setdefault(text, []).extend([] if of_block is None else [int(of_block[1])])
    every = len(look.trace.anatomy.blocks)
    return tuple(
        text
        if not blocks
        else Text(f"every block: {text.en}", f"すべてのブロック: {text.ja}")
        if len(blocks) == every
        else Text(
            f"block {', '.join(map(str, blocks))}: {text.en}", f"ブロック{', '.join(map(str, blocks))}: {text.ja}"
        )
        for text, blocks in said.items()
    )


def _script_data(look: Look, lang: Lang) -> dict[str, Any]:
    """What the page's script draws from."""
    found, layout = look.trace, look.trace.layout
    values: dict[str, Any] = {
        "grid": list(layout.grid),
        "layers": len(found.anatomy.blocks),
        "viridis": base64.b64encode(colour_table("viridis").tobytes()).decode(),
        "diverging": base64.b64encode(colour_table("RdBu_r").tobytes()).decode(),
        "image": pixels_of(look),
        "attention": None,
        "cosines": None,
        "lens": None,
        "words": {name: WORDS[name][lang] for name in _SCRIPT_WORDS},
    }
    if not has_places(found):
        return values
    maps = [found[f"block{block:02}/attention"].detach().float() for block in range(len(found.anatomy.blocks))]
    is_too_large = sum(each.numel() for each in maps) > MOST_SHARES
    if is_too_large or len({len(each) for each in maps}) > 1:  # or layers have other numbers of heads
        maps = [each.mean(dim=0, keepdim=True) for each in maps]
    stacked = torch.stack(maps).cpu()
    top = float(stacked.max()) or 1.0
    codes = (255 * (stacked.clamp(min=0) / top).sqrt()).round()
    error = float((top * (codes / 255) ** 2 - stacked).abs().max())
    down, across = layout.grid
    start = (
        found.class_token if found.class_token is not None else layout.token_of_patch[down // 2 * across + across // 2]
    )
    values |= {
        "attention": packed(codes.numpy().astype(np.uint8)),
        "top": top,
        "tokens": stacked.shape[-1],
        "heads": stacked.shape[1],
        "mean": stacked.shape[1] < found["block00/attention"].shape[0],
        "patchOfToken": list(layout.patch_of_token),
        "tokenOfPatch": [layout.token_of_patch[patch] for patch in range(down * across)],
        "classToken": found.class_token,
        "extras": list(layout.extra),
        "start": start,
    }
    values["words"]["rounding"] = WORDS["rounding"].format(error=number(error))[lang]
    if is_too_large:
        values["words"]["rounding"] += WORDS["gap"][lang] + WORDS["heads_averaged"][lang]
    if look.views.positions is not None:
        cosines = ((look.views.positions.cosines.clamp(-1, 1) + 1) * 127.5).round()
        values["cosines"] = packed(cosines.numpy().astype(np.uint8))
    if look.views.logit_lens is not None:
        of_patches = look.views.logit_lens.patches.float().softmax(dim=-1)[:, :, look.target].detach()
        most = float(of_patches.max()) or 1.0
        values["lens"] = {"codes": packed((255 * of_patches / most).round().numpy().astype(np.uint8)), "top": most}
    return values


_SCRIPT_WORDS = (
    "mean_of_heads",
    "class_token",
    "extra_token",
    "patch_at",
    "takes",
    "takes_patches",
    "scale",
    "rounding",
    "stop",
    "gap",
    "likeness_of",
    "cosine",
    "probability",
)
