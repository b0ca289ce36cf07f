"""What a watched loop says of itself: in which language, what it was not told, how it ended, and no harm where there is none."""

from __future__ import annotations

import pytest
import torch
from torch.optim import lr_scheduler
from watch_parts import ViT, evaluate, loader_of, parts, step, train

import vitscope
from vitscope._core.errors import UsageError
from vitscope.doctor.loop.watch import Watched

pytestmark = pytest.mark.e2e  # whole loops


def watched_for(epochs: int = 1, *, lang: str | None = None) -> Watched:
    p = parts()
    with vitscope.watch(p.model, p.optimizer, p.loader, lang=lang) as watched:
        train(p, epochs)
    return watched


def test_the_language_is_the_one_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    watched = watched_for(lang="ja")
    assert "問題は見つかりませんでした" in str(watched)
    assert "healthy; nothing wrong was found" in watched.text("en")
    assert "healthy" in repr(watched)
    p = parts()
    with pytest.raises(UsageError, match="lang is 'de', expected one of en, ja"):
        vitscope.watch(p.model, p.optimizer, lang="de").__enter__()


def test_what_was_not_told_is_said() -> None:
    notes = " ".join(note.en for note in watched_for().report.notes)
    assert "no scheduler= was given" in notes
    assert "no val_loader= was given" in notes
    assert "no loader was given" not in notes


@pytest.mark.parametrize("given", [False, True])
def test_a_rate_that_swings_within_an_epoch_is_seen_without_its_scheduler(given: bool) -> None:
    p = parts(loader=loader_of(320))
    scheduler = lr_scheduler.CosineAnnealingLR(p.optimizer, 2)
    with vitscope.watch(p.model, p.optimizer, p.loader, scheduler=scheduler if given else None) as watched:
        for _ in range(2):
            for images, labels in p.loader:
                step(p, images, labels)
                scheduler.step()
    (finding,) = watched.findings
    assert finding.id == "scheduler-at-the-wrong-rate"
    assert ("times" in finding.evidence) is not given


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_an_interrupted_loop_had_no_error_of_its_own(lang: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Watching prints nothing of its own accord, and the report says once what happened, however often it is asked for."""
    p = parts()
    with pytest.raises(KeyboardInterrupt), vitscope.watch(p.model, p.optimizer, p.loader, lang=lang) as watched:  # noqa: PT012
        train(p, 1)
        assert watched.report.notes
        raise KeyboardInterrupt
    assert capfd.readouterr() == ("", "")
    assert watched.report.notes[0].en == "The loop was interrupted."
    for said in (str(watched), str(watched.report), watched.text(), watched._repr_html_()):
        assert said.count("The loop was interrupted." if lang == "en" else "ループは中断されました。") == 1
        assert said.count("ViT") == 1


def test_no_harm_is_said_of_a_mode_that_changes_nothing() -> None:
    torch.manual_seed(0)
    p = parts(ViT(dropout=0.0), val=loader_of(70, seed=1))
    with vitscope.watch(p.model, p.optimizer, p.loader, val_loader=p.val) as watched:
        train(p, 1)
        evaluate(p, mode=True)
    (finding,) = watched.findings
    assert finding.id == "validated-in-training-mode"
    assert "mode changes nothing" in finding.summary.en
    assert "too low" not in finding.fault.why.en


@pytest.mark.parametrize("is_told", [False, True])
def test_a_block_in_which_nothing_happens_is_not_told_as_healthy(is_told: bool) -> None:
    p = parts(optimizer=lambda m: torch.optim.AdamW(m.parameters(), 1e-3))
    with vitscope.watch(p.model, p.optimizer, p.loader if is_told else None) as watched:
        pass
    assert "0 steps: nothing could be examined\nNothing was seen" in watched.text("en")
    assert "検査できた項目がありません" in watched.text("ja")
    assert "healthy" not in watched.text("en")
    assert not watched.findings


def test_steps_that_are_compiled_are_said_not_to_be_seen() -> None:
    p = parts()
    compiled = torch.compile(p.optimizer.step, backend="eager")
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            torch.nn.functional.cross_entropy(p.model(images), labels).backward()
            compiled()
    (note,) = (note.en for note in watched.report.notes if "Not one step" in note.en)
    assert "AdamW" in note
    assert "torch.compile(optimizer.step)" in note
    assert not any("Not one step" in note.en for note in watched_for().report.notes)


def test_many_names_are_told_by_their_number() -> None:
    p = parts(ViT(depth=4), lambda m: torch.optim.SGD(m.head.parameters(), 0.1))
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        train(p, 1)
    (finding,) = (each for each in watched.findings if each.id == "parameters-left-out")
    assert len(finding.evidence["not_held"]) == 20
    assert finding.evidence["count"] == len(list(p.model.parameters())) - 2
    assert f"{finding.evidence['count']} in all" in finding.summary.en


def test_one_step_is_told_in_the_singular() -> None:
    p = parts(loader=loader_of(320))
    scheduler = lr_scheduler.LambdaLR(p.optimizer, lambda t: 1.0 if t < 1 else 1e-5)
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        for images, labels in p.loader:
            step(p, images, labels)
            scheduler.step()
    (finding,) = watched.findings
    assert "within 1 step and stays" in finding.summary.en


def test_where_all_dropout_layers_drop_much_it_is_not_said_to_be_half_of_them() -> None:
    p = parts(ViT(dropout=0.7))
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        train(p, 2)
    (found,) = [each for each in watched.findings if each.id == "too-much-dropout"]
    assert found.summary.en.startswith("At least half of the dropout layers drop 0.7 or more.")
    assert found.summary.ja.startswith("ドロップアウト層の半数以上で")


@pytest.mark.parametrize(
    ("lang", "said"),
    [
        (
            "en",
            "to confirm the fix: run the loop under watch again; loop-gradients then no longer finds gradients-not-cleared",
        ),
        (
            "ja",
            "修正の確認：watchの中でループをもう一度実行し、loop-gradientsでgradients-not-clearedが見つからないことを確かめてください",
        ),
    ],
)
def test_what_confirms_a_fix_is_said_beside_it(lang: str, said: str) -> None:
    p = parts()
    with vitscope.watch(p.model, p.optimizer, p.loader, lang=lang) as watched:
        for images, labels in p.loader:
            torch.nn.functional.cross_entropy(p.model(images), labels).backward()
            p.optimizer.step()
    text = "".join(line.strip() + " " * (lang == "en") for line in str(watched).splitlines())
    assert text.count(said) == 1
    assert watched._repr_html_().count(said) == 1
