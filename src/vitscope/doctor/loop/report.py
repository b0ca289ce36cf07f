"""An examination of a loop: as any other, under the model's name and the steps that were watched."""

from __future__ import annotations

from vitscope._core.text import Text
from vitscope.doctor.examination import Examination


class LoopExamination(Examination):
    """What was found in a training loop."""

    @property
    def title(self) -> Text:
        """The model, and how much of its loop was seen."""
        steps = int(self.facts.get("steps", 0))
        return Text(f"{self.target}, {steps} step{'s' if steps != 1 else ''}", f"{self.target}（{steps}ステップ）")

    @property
    def _confirm(self) -> Text:
        """The loop has to be run once more: there is no check to ask for."""
        return Text(
            "run the loop under watch again; {check} then no longer finds {id}",
            "watchの中でループをもう一度実行し、{check}で{id}が見つからないことを確かめてください",
        )
