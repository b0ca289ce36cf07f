"""Nearest-name suggestions: in goes a misspelt word and the words that exist, out comes ` (did you mean …?)` or nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from vitscope._core.text import Text

# What other libraries call our settings.
ALIASES = {
    "learning_rate": "lr",
    "epochs": "duration",
    "steps": "duration",
    "num_classes": "classes",
    "num_heads": "heads",
    "n_heads": "heads",
    "num_layers": "depth",
    "layers": "depth",
    "embed_dim": "dim",
    "hidden_size": "dim",
    "img_size": "image_size",
    "in_channels": "channels",
    "in_chans": "channels",
    "drop_path_rate": "stochastic_depth",
    "patch_drop_rate": "patch_dropout",
    "drop_rate": "dropout",
    "clip_grad": "gradient_clip",
    "warmup_steps": "warmup",
    "scheduler": "schedule",
    "dtype": "precision",
    "pos_embed": "position",
    "proj_drop": "projection_dropout",
    "flash": "fused",
    "sdpa": "fused",
    "eager": "explicit",
}


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, or None where nothing comes close."""
    names = list(known)
    by_fold = {name.lower(): name for name in names}
    by_fold |= {alias: name for alias, name in ALIASES.items() if name in names and alias not in by_fold}
    found = difflib.get_close_matches(word.lower(), by_fold, n=1, cutoff=0.6)
    return by_fold[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` where a known word comes close, else an empty string; to be put behind the name in a message."""
    return did_you_mean_text(word, known).en


def did_you_mean_text(word: str, known: Iterable[str]) -> Text:
    """`did_you_mean` in both languages."""
    best = nearest(word, known)
    if best is None:
        return Text("", "")
    return Text(f" (did you mean '{best}'?)", f"（'{best}'の間違いではありませんか？）")


def a_(word: str) -> str:
    """A word with its article: `an int`, `a list`."""
    return f"an {word}" if word[:1].lower() in "aeiou" else f"a {word}"
