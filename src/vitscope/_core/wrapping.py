"""Paragraphs for a screen, in either language: a text and a width in, lines out that are no wider than it where that can be.

English breaks at spaces only, never inside of `--image-size`. Japanese breaks between any two letters, but no line begins with a full
stop, a comma, a closing bracket or a small kana, and none ends with an opening bracket. Width is counted in cells, of which a Japanese letter
takes two.
"""

from __future__ import annotations

from unicodedata import east_asian_width

NOT_FIRST = frozenset(
    "、。，．・：；？！）」』】〕］｝〉》ー々〜…‥”’ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ％%)]},.:;!?"
)
"""What no line begins with."""
NOT_LAST = frozenset("（「『【〔［｛〈《“‘([{")
"""What no line ends with."""


def cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(2 if _is_wide(letter) else 1 for letter in text)


def wrapped(text: str, width: int, *, first: str = "", rest: str = "") -> list[str]:
    """The lines of a paragraph.

    Args:
        text: the paragraph.
        width: in cells; a word that is wider stands on a line of its own.
        first: what its first line begins with.
        rest: what all others begin with.
    """
    lines: list[str] = []
    line, is_bare = first, True
    for space, unit in _units(text):
        if not is_bare and cells(line + space + unit) > width:
            lines.append(line)
            line, is_bare = rest, True
        line += unit if is_bare else space + unit
        is_bare = False
    return [*lines, line]


def _units(text: str) -> list[tuple[str, str]]:
    """What must stay together, each with the space before it."""
    units: list[tuple[str, str]] = []
    space = ""
    for token in _tokens(text):
        if token.isspace():
            space = " "
            continue
        if units and (_holds(units[-1][1][-1], token, space)):
            before, unit = units[-1]
            units[-1] = (before, unit + space + token)
        else:
            units.append((space, token))
        space = ""
    return units


def _holds(last: str, token: str, space: str) -> bool:
    """Whether no line may break between a unit's last letter and what follows: `10 %` stays together too."""
    return (not space and (last in NOT_LAST or token[0] in NOT_FIRST)) or (bool(space) and token[0] in "%")


def _tokens(text: str) -> list[str]:
    """Wide letters one by one, runs of narrow ones, runs of spaces."""
    tokens: list[str] = []
    kind = ""
    for letter in text:
        its = "wide" if _is_wide(letter) else "space" if letter.isspace() else "narrow"
        if its == kind != "wide":
            tokens[-1] += letter
        else:
            tokens.append(letter)
        kind = its
    return tokens


def _is_wide(letter: str) -> bool:
    return east_asian_width(letter) in "WF"
