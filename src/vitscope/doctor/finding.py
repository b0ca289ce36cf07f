"""What a check finds: a fault that is known by name, the sentence and the numbers that show it here. In go faults, out come findings.

A `Fault` stands once, beside the check that finds it, with all that does not depend on the model: what it does to learning, the fix in words and
in code, and which check proves the fix. A `Finding` is that fault in one model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor

from vitscope._core.text import Lang, Text
from vitscope.doctor.comments import code_in

Severity = Literal["error", "warning", "note"]
"""Error: the model or the loop is wrong whatever was intended. Warning: legal and usually harmful. Note: style, or worth knowing."""
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Fault:
    """One thing that can be wrong with a ViT, by name."""

    id: str
    """Says it in a few words: `attention-across-the-batch`; no two faults share one."""
    mode: str
    """Its number in docs/failure-modes.md: `M1`."""
    check: str
    """The check that finds it."""
    severity: Severity
    why: Text
    """What it does to learning."""
    advice: Text
    """The fix in words."""
    code: str = ""
    """The fix in code, where a few lines say it; for its comments in Japanese see `comments`."""
    proof: str = ""
    """The check that shows that the fix is one; left out, the check that found it."""
    explains: tuple[str, ...] = ()
    """What follows from it: ids of faults, or of checks of which every finding follows."""

    @property
    def is_to_mend(self) -> bool:
        """Whether it asks for anything: that a learning rate is a good one does not."""
        return self.advice.en != "nothing to do"

    @property
    def in_code(self) -> Text:
        """The fix in code, with its comments in both languages."""
        return Text(self.code, code_in(self.code, "ja"))

    def found(
        self,
        summary: Text,
        evidence: Mapping[str, Any],
        *,
        severity: Severity | None = None,
        picture: Tensor | None = None,
    ) -> Finding:
        """This fault in one model: the sentence that says what is wrong there and the numbers that show it."""
        return Finding(
            self, severity or self.severity, _in_words(summary, _quoted(evidence)), _shown(evidence), picture
        )


_MODEL = re.compile(r"the model(?! ?[a-z'’])")
_NAMES = re.compile(r"(?<![A-Za-z0-9_(.])[A-Za-z_][\w.]*(?:, [A-Za-z_][\w.]*)+")


def _shown(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Without lists of nothing, which show nothing."""
    return {name: value for name, value in evidence.items() if not (isinstance(value, list | tuple) and not value)}


def _quoted(evidence: Mapping[str, Any]) -> list[str]:
    """What errors said, with the name of the error and without, the longest first."""
    said = [evidence.get("error"), evidence.get("raised"), *dict(evidence.get("errors", {})).values()]
    whole = [each.rstrip(".") for each in said if isinstance(each, str)]
    return sorted({part for each in whole for part in (each, each.partition(": ")[2]) if " " in part}, key=len)[::-1]


def _in_words(summary: Text, quoted: Sequence[str] = ()) -> Text:
    """Names as each language has them: `a, b … (6)` says how many there are in all, Japanese has commas of its own, and a name of its own for the
    outermost module. What is quoted stays as it is."""
    parts = re.split(f"({'|'.join(map(re.escape, quoted))})", summary.ja) if quoted else [summary.ja]
    ja = "".join(part if part in quoted else _in_japanese(part) for part in parts)
    return Text(re.sub(r"… \((\d+)\)", r"… (\1 in all)", summary.en), ja)


def _in_japanese(sentence: str) -> str:
    said = re.sub(r" ?… \((\d+)\)", r"…（全\1個）", sentence)
    return _MODEL.sub("モデル本体", _NAMES.sub(lambda names: names[0].replace(", ", "、"), said))


@dataclass(frozen=True, eq=False)
class Finding:
    """A fault in one model."""

    fault: Fault
    severity: Severity
    summary: Text
    evidence: Mapping[str, Any]
    """Numbers, words and lists of them, by name."""
    picture: Tensor | None = None
    """H W, from 0 to 1: where in the image."""
    folded_under: str | None = None
    """The id of the finding that explains it."""

    @property
    def id(self) -> str:
        return self.fault.id

    @property
    def check(self) -> str:
        return self.fault.check

    @property
    def proof(self) -> str:
        return self.fault.proof or self.fault.check

    def under(self, cause: str | None) -> Finding:
        """The same, explained by another."""
        return replace(self, folded_under=cause)

    def to_dict(self, lang: Lang) -> dict[str, Any]:
        """As the command's JSON holds it, its sentences in one language."""
        return {
            "id": self.id,
            "mode": self.fault.mode,
            "check": self.check,
            "severity": self.severity,
            "summary": self.summary[lang],
            "evidence": {name: plain(value) for name, value in self.evidence.items()},
            "why_it_matters": self.fault.why[lang],
            "advice": self.fault.advice[lang],
            "code": self.fault.in_code[lang],
            "folded_under": self.folded_under,
            "proof": self.proof,
        }


@dataclass(frozen=True)
class Skip:
    """A check, or a part of one, that was not done, and why."""

    check: str
    why: Text
    is_left_out: bool = False
    """Whether it was not asked for or is not for such a model; else it could not be made, and what it would have found is not known."""

    def to_dict(self, lang: Lang) -> dict[str, Any]:
        return {"check": self.check, "why": self.why[lang], "left_out": self.is_left_out}


class Skipped(Exception):  # noqa: N818  no error of anyone's
    """Raised by a check that does not apply to a model, or cannot be done on it; what it found before stands.

    Args:
        why: in a few words.
        is_left_out: it was not asked for or is not for such a model.
        is_part: the rest of the check was done.
    """

    def __init__(self, why: Text, *, is_left_out: bool = False, is_part: bool = False) -> None:
        super().__init__(why.en)
        self.why, self.is_left_out, self.is_part = why, is_left_out, is_part

    def of(self, check: str) -> Skip:
        """What is told of it."""
        return Skip(check, self.why, self.is_left_out)


def plain(value: Any) -> Any:
    """A number, word or list as JSON holds it; what is not finite becomes a word, for JSON has no other."""
    if isinstance(value, Tensor):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return str(value)
    return value
