"""What an examination comes to. In go findings in the order in which checks made them, out comes an `Examination`: causes first, their
consequences folded under them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from vitscope._core.text import Lang, Text, language_of_locale
from vitscope.doctor.finding import SEVERITIES, Finding, Skip
from vitscope.doctor.telling import as_html, as_text, verdict


@dataclass(frozen=True, eq=False, repr=False)
class Examination:
    """All that was found in one model."""

    target: str
    findings: tuple[Finding, ...]
    """Causes first, each followed by what it explains; the worst first."""
    checks_run: tuple[str, ...]
    skipped: tuple[Skip, ...]
    seconds: Mapping[str, float]
    """What each check took."""
    facts: Mapping[str, Any]
    """What the model is: parameters, classes, tokens, blocks, precision of the experiments, their seed."""
    notes: tuple[Text, ...] = ()
    """What a reader must know beside: hooks that were left out, a precision that was fallen back to."""
    lang: Lang | None = None
    """The language that it is printed in; the locale's where left out."""

    @property
    def healthy(self) -> bool:
        """Whether nothing is an error."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def not_made(self) -> tuple[Skip, ...]:
        """The checks, or parts of them, that could not be made: what they would have found is not known."""
        return tuple(skip for skip in self.skipped if not skip.is_left_out)

    @property
    def left_out(self) -> tuple[Skip, ...]:
        """Those that were not asked for, or are not for this model."""
        return tuple(skip for skip in self.skipped if skip.is_left_out)

    @property
    def causes(self) -> tuple[Finding, ...]:
        """The findings that no other explains."""
        return tuple(finding for finding in self.findings if finding.folded_under is None)

    def under(self, cause: Finding) -> tuple[Finding, ...]:
        """The findings that one explains."""
        return tuple(finding for finding in self.findings if finding.folded_under == cause.id)

    @property
    def title(self) -> Text:
        """What it is headed with."""
        return Text(self.target, self.target)

    def text(self, lang: Lang | None = None) -> str:
        """All of it to be read, as `vitscope doctor` prints it; in the locale's language where none is given."""
        lang = lang or self.lang or language_of_locale()
        return as_text(self, lang, confirm=self._confirm[lang])

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<Examination of {self.target}: {verdict(self).en}; print it to read it>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        lang = self.lang or language_of_locale()
        return as_html(self, lang, confirm=self._confirm[lang])

    @property
    def _confirm(self) -> Text:
        """How it is seen that a finding is gone."""
        return Text('checks=["{check}"]', 'checks=["{check}"]')

    def to_dict(self, lang: Lang = "en") -> dict[str, Any]:
        """As the command's JSON holds it."""
        return {
            "target": self.target,
            "healthy": self.healthy,
            "checks_run": list(self.checks_run),
            "skipped": [skip.to_dict(lang) for skip in self.skipped],
            "findings": [finding.to_dict(lang) for finding in self.findings],
            "facts": dict(self.facts),
            "seconds": {check: round(seconds, 3) for check, seconds in self.seconds.items()},
            "notes": [note[lang] for note in self.notes],
        }


class Found(NamedTuple):
    """What the checks of data or of a curve found: findings, what was not done and why, and the checks that were done."""

    findings: list[Finding]
    skipped: list[Skip]
    checks_run: tuple[str, ...]

    @property
    def examination(self) -> Examination:
        """The same in order, causes first, as it is shown."""
        is_data = all(each.startswith("data") for each in (*self.checks_run, *(skip.check for skip in self.skipped)))
        of = "data" if is_data else "curve"
        return Examination(of, in_order(self.findings, self.checks_run), self.checks_run, tuple(self.skipped), {}, {})

    def text(self, lang: Lang | None = None) -> str:
        """All of it to be read; in the locale's language where none is given."""
        return self.examination.text(lang)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return repr(self.examination)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return self.examination._repr_html_()


def in_order(findings: Iterable[Finding], checks: Sequence[str]) -> tuple[Finding, ...]:
    """Causes first: by severity, then by the order of the checks; behind each what it explains, in the same order."""
    found = _folded(tuple(findings))

    def rank(finding: Finding) -> tuple[int, int]:
        place = checks.index(finding.check) if finding.check in checks else len(checks)
        return SEVERITIES.index(finding.severity), place

    ordered: list[Finding] = []
    for cause in sorted((each for each in found if each.folded_under is None), key=rank):
        ordered += [cause, *sorted((each for each in found if each.folded_under == cause.id), key=rank)]
    return tuple(ordered)


def _folded(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Each finding under the cause that explains it, where one is there: the one that nothing else explains. A lighter finding explains no
    graver one. Of several causes, and of two that explain each other, one that names the finding by its id knows more than one that names a
    whole check."""
    by_id = {finding.id: finding for finding in findings}
    causes: dict[str, str] = {}
    for finding in findings:
        able = [each for each in findings if _explains(each, finding) > _explains(finding, each)]
        if able:
            causes[finding.id] = max(able, key=lambda cause: _explains(cause, finding)).id

    def root(of: str) -> str:
        seen = {of}
        while causes.get(of) is not None and causes[of] not in seen:
            of = causes[of]
            seen.add(of)
        return of

    return tuple(by_id[each].under(root(each) if root(each) != each else None) for each in by_id)


def _explains(cause: Finding, finding: Finding) -> int:
    """How well: 2 where it names the finding, 1 where it names all of its check, 0 where it explains nothing of it."""
    if SEVERITIES.index(cause.severity) > SEVERITIES.index(finding.severity):
        return 0
    return 2 if finding.id in cause.fault.explains else int(finding.check in cause.fault.explains)
