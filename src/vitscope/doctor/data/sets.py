"""What the checks of data are asked about: the two sets as far as they were seen, the classes that the model has, and what is done to images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vitscope._core.text import Text
from vitscope.augment.spec import AugmentSpec
from vitscope.doctor.data.seen import Seen
from vitscope.doctor.finding import Skipped


@dataclass(frozen=True, eq=False)
class Sets:
    """Training and validation images."""

    train: Seen
    validation: Seen | None = None
    classes: int | None = None
    """Scores that the model gives, if told."""
    augment: AugmentSpec | None = None
    """What is done to a table's images, if told."""
    unreadable: Sequence[str] = ()
    """Images that no table holds, as they cannot be read."""

    def need_validation(self) -> Seen:
        """The validation images.

        Raises:
            Skipped: none were given.
        """
        if self.validation is None:
            raise Skipped(Text("no validation images were given", "検証データが与えられていません"), is_left_out=True)
        return self.validation

    @property
    def all(self) -> tuple[Seen, ...]:
        """The sets that there are."""
        return (self.train,) if self.validation is None else (self.train, self.validation)


NO_LABELS = Text(
    "the images come without one class each",
    "画像ごとに1つのクラスを示すラベルがありません",
)
