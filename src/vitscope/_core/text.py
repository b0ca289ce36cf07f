"""Sentences in both languages. What users read as explanation exists in English and in Japanese, side by side in the code."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal, get_args

Lang = Literal["en", "ja"]
LANGS: tuple[Lang, ...] = get_args(Lang)


@dataclass(frozen=True)
class Text:
    """One sentence in both languages: `Text("patch", "パッチ")["ja"]`."""

    en: str
    ja: str

    def __getitem__(self, lang: Lang) -> str:
        return self.ja if lang == "ja" else self.en

    def format(self, **values: object) -> Text:
        """Both sentences with the same values filled in; a text among them in the sentence's language."""
        en, ja = (
            {name: value[lang] if isinstance(value, Text) else value for name, value in values.items()}
            for lang in LANGS
        )
        return Text(self.en.format(**en), self.ja.format(**ja))

    def to_dict(self) -> dict[str, str]:
        return {"en": self.en, "ja": self.ja}


def language_of_locale() -> Lang:
    """The language that the environment asks for (LC_ALL, LC_MESSAGES, LANG, in that order); English unless it is Japanese."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        if value:
            return "ja" if value.lower().startswith("ja") else "en"
    return "en"
