"""From a template and values to one HTML file: styles and scripts inside, nothing fetched, everything that is not markup escaped."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vitscope import __version__
from vitscope._core.text import Lang, Text

_TEMPLATES = Path(__file__).parent / "templates"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["number"] = number
    return made


def render(template: str, lang: Lang, words: Mapping[str, Text], **values: Any) -> str:
    """A page in one language; in the template `_(text)` is a sentence in it, and `w.name` one of the page's own words."""

    def said(text: Text | str | None) -> str:
        return text[lang] if isinstance(text, Text) else (text or "")

    own = {name: text[lang] for name, text in words.items()}
    return _environment().get_template(template).render(_=said, w=own, lang=lang, version=__version__, **values)


def asset(name: str) -> Markup:
    """A style sheet or script that goes into the page as it is."""
    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))


def script_data(value: Any) -> Markup:
    """A value as JSON inside a script element: no `<` that could end it."""
    import json

    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def number(value: float | None) -> str:
    """A number as a reader wants it: four places, no `1e-07` where zero is meant exactly."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    return f"{value:.2g}" if abs(value) < 1e-3 else f"{value:.4g}"
