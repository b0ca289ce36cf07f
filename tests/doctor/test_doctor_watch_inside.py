"""Evaluation mode that begins within an epoch is mended there; that which begins between two epochs, at the top of the next."""

from __future__ import annotations

import pytest
import torch
from watch_parts import parts, step

import vitscope
from vitscope.doctor.finding import Finding

pytestmark = pytest.mark.e2e  # whole loops


def found(every: int, *, trains: bool, epochs: int = 3) -> Finding:
    """A measurement behind so many steps, of ten in an epoch."""
    p, number = parts(), 0
    with vitscope.watch(p.model, p.optimizer, p.loader, loss_fn=p.loss) as watched:
        for _ in range(epochs):
            if trains:
                p.model.train()
            for images, labels in p.loader:
                step(p, images, labels)
                number += 1
                if number % every == 0:
                    p.model.eval()
                    with torch.no_grad():
                        p.model(images)
    (finding,) = watched.findings
    assert (finding.id, finding.severity) == ("trained-in-evaluation-mode", "warning")
    return finding


@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize("every", [1, 4])
def test_a_measurement_inside_of_the_loop_is_mended_there(every: int, *, trains: bool) -> None:
    finding = found(every, trains=trains)
    assert "inside of the loop" in finding.fault.advice.en
    assert "ループの中" in finding.fault.advice.ja


def test_a_measurement_between_epochs_is_mended_at_the_top_of_the_next() -> None:
    assert "at the top of each epoch" in found(10, trains=False).fault.advice.en
