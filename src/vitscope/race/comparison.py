"""What a comparison comes to: both examinations, the parts side by side, the race, and what only one of the two has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vitscope._core.text import Lang, Text, language_of_locale
from vitscope.doctor.examination import Examination
from vitscope.doctor.finding import Finding
from vitscope.doctor.telling import listed
from vitscope.race.contest import Race
from vitscope.race.entrants import Starts
from vitscope.race.gaps import Gap, Heat
from vitscope.race.structure import Row

_MENDED = Text("{model} without {faults}", "{model}（{faults}を修正）")


def quoted(ids: Sequence[str]) -> Text:
    """Ids for a sentence."""
    return Text(listed([f"'{each}'" for each in ids]).en, "".join(f"「{each}」" for each in ids))


@dataclass(frozen=True, eq=False)
class Cause:
    """A finding that only one of the two has, and what mending it does."""

    owner: str
    finding: Finding
    done: Text | None = None
    """What was changed; None where no mend was raced."""
    is_gone: bool | None = None
    """Whether the check that found it finds it no more in the mended copy."""
    heats: tuple[Heat, ...] = ()
    """The mended copy's."""
    gained: Gap | None = None
    """Mended minus as it was."""
    left: Gap | None = None
    """The other model minus the mended one: what the mend leaves of the gap."""
    gone_with: str | None = None
    """The id of another finding whose mend mends this one too."""
    why_not: Text | None = None
    """Why a mend that there is was not raced."""
    together: tuple[str, ...] = ()
    """The ids of all that is mended in this copy, where it is several; the finding is the first of them."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Of all that is mended in its copy."""
        return self.together or (self.finding.id,)

    @property
    def confirmed(self) -> bool:
        """Whether mending it makes the model learn clearly better; never known from one seed."""
        return self.gained is not None and self.gained.is_clear and self.gained.low > 0

    def to_dict(self, lang: Lang) -> dict[str, Any]:
        return {
            "model": self.owner,
            "finding": self.finding.to_dict(lang),
            "mend": None if self.done is None else self.done[lang],
            "gone_when_mended": self.is_gone,
            "gone_with": self.gone_with,
            "together": list(self.together),
            "why_not_raced": None if self.why_not is None else self.why_not[lang],
            "heats": [heat.to_dict() for heat in self.heats],
            "gained": self.gained.to_dict() if self.gained else None,
            "left": self.left.to_dict() if self.left else None,
            "confirmed": self.confirmed,
        }


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """All that was found about two models."""

    one: Examination
    other: Examination
    rows: tuple[Row, ...]
    race: Race | None
    causes: tuple[Cause, ...]
    why_no_race: Text | None = None
    notes: tuple[Text, ...] = ()
    """What a reader must know: fresh weights, data that were resized."""
    lang: Lang | None = None
    """The language that it is printed in; the locale's where left out."""
    untrained: bool = False
    """Whether there is no race because one of the two cannot be trained."""
    starts: tuple[Starts, Starts] = ("fresh", "fresh")
    """What each seed's training of the one and of the other begins from."""

    @property
    def healthy(self) -> bool:
        """Whether neither has an error, and both could be trained."""
        return self.one.healthy and self.other.healthy and not self.untrained

    @property
    def gap(self) -> Gap | None:
        """The first minus the second."""
        return None if self.race is None else self.race.gap(self.one.target, self.other.target)

    def examined(self, cause: Cause) -> bool:
        """Whether the one that has not what the other has was examined for it."""
        rival = self.other if cause.owner == self.one.target else self.one
        check = cause.finding.check
        return check in rival.checks_run and check not in {skip.check for skip in rival.skipped}

    @property
    def shared(self) -> tuple[str, ...]:
        """The ids of what both have and what is an error or a warning in one at least; causes only."""
        sides = ((self.one, self.other), (self.other, self.one))
        both = [
            cause.id
            for own, its in sides
            for cause in own.causes
            if cause.severity != "note" and cause.id in {each.id for each in its.findings}
        ]
        return tuple(dict.fromkeys(both))

    @property
    def verdict(self) -> Text:
        """In a few sentences: who learns better, by how much, and why."""
        said = self.sentences
        return Text(" ".join(each.en for each in said), "".join(each.ja for each in said))

    @property
    def sentences(self) -> tuple[Text, ...]:
        """The verdict, sentence by sentence: the race first, then each cause."""
        from vitscope.race.verdict import sentences_of

        return sentences_of(self)

    @property
    def arms(self) -> tuple[tuple[Text, tuple[Heat, ...]], ...]:
        """All that were trained, with their heats: the two, then the mended copies."""
        if self.race is None:
            return ()
        own = [(Text(name, name), self.race.of(name)) for name in (self.one.target, self.other.target)]
        mended = [
            (_MENDED.format(model=each.owner, faults=quoted(each.ids)), each.heats)
            for each in self.causes
            if each.heats
        ]
        return (*own, *mended)

    def text(self, lang: Lang | None = None) -> str:
        """All of it to be read, as `vitscope compare` prints it; in the locale's language where none is given."""
        from vitscope.race.telling import as_text

        return as_text(self, lang or self.lang or language_of_locale())

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<Comparison of {self.one.target} and {self.other.target}; print it to read it>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from vitscope.race.telling import as_html

        return as_html(self, self.lang or language_of_locale())

    def to_dict(self, lang: Lang = "en") -> dict[str, Any]:
        """As the command's JSON holds it."""
        return {
            "healthy": self.healthy,
            "verdict": self.verdict[lang],
            "notes": [note[lang] for note in self.notes],
            "structure": [row.to_dict(lang) for row in self.rows],
            "examinations": [self.one.to_dict(lang), self.other.to_dict(lang)],
            "race": self.race.to_dict() if self.race else None,
            "why_no_race": self.why_no_race[lang] if self.why_no_race else None,
            "starts": list(self.starts),
            "gap": self.gap.to_dict() if self.gap else None,
            "causes": [cause.to_dict(lang) for cause in self.causes],
        }
