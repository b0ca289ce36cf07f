"""`vitscope doctor`: a model, a run or a learning curve in; what is wrong with it, why it matters and how to mend it out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitscope._core.errors import UsageError
from vitscope._core.text import Lang, Text
from vitscope.cli.apart import is_apart, keep_within_limits, no_interrupt_of_theirs, refuse_no_time, run_apart
from vitscope.cli.doctor_screen import show
from vitscope.cli.look import output_and_folder_stay_ours, refuse_what_is_no_page
from vitscope.cli.options import (
    CommandContext,
    DebugOption,
    JsonOption,
    LangOption,
    PageOption,
    TimeLimitOption,
    chosen,
)
from vitscope.cli.screen import err, named_progress, print_json
from vitscope.doctor.arguments import LOSSES

if TYPE_CHECKING:
    from vitscope.recipes.examining import Question

CHECK_IDS = (
    "forward, determinism, batch-independence, input-blindness, pixel-coverage, patch-layout, position, token-mixing, attention, residual, "
    "parameters, gradient, output, initial-loss, overfit, learning-rate; of a curve: curve-divergence, curve-chance, curve-band, curve-modes, "
    "curve-overfitting, curve-learning-rate; of --data: data-labels, data-leak, data-order, data-normalisation, data-augmentation, "
    "data-balance, data-evaluation"
)
"""Told without loading any of them; that none is missing is tested."""
OPENING = Text("opening the model", "モデルを開いています")


def doctor(
    ctx: CommandContext,
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A built-in name, a YAML file, a run folder, package.module:callable, or a metrics CSV.",
            show_default=False,
        ),
    ],
    image_size: Annotated[
        int | None,
        typer.Option(
            "--image-size",
            metavar="S",
            help="Side of the model's images in pixels. Without it: what the model says, else the first of a few usual sizes that it takes.",
            show_default=False,
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            "--channels",
            metavar="C",
            help="Channels of the model's images. Without it: what the model says, else 3, 1, or what its first layer takes.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(
            "--classes",
            metavar="Y",
            help="How many scores the model should give. Without it: as many as it gives.",
            show_default=False,
        ),
    ] = None,
    kwargs: Annotated[
        str | None,
        typer.Option("--kwargs", metavar="JSON", help="Arguments for package.module:callable.", show_default=False),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="SOURCE",
            help="Examine these images too: digits, cifar10, a folder, …",
            show_default=False,
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            "--loss", metavar="LOSS", help=f"What it is trained with: {', '.join(LOSSES)}.", show_default=False
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option("--lr", metavar="LR", help="Learning rate to hold against the stable range.", show_default=False),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", metavar="B", help="Batch size that it is trained with.", show_default=False),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="REFERENCE",
            help="Curve to hold a metrics CSV against: a name (vit_patch4_cifar10_200ep) or a CSV file.",
            show_default=False,
        ),
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Do the learning checks of a large model too.")] = False,
    checks: Annotated[
        str | None,
        typer.Option("--checks", metavar="ID,ID", help=f"Only these checks: {CHECK_IDS}.", show_default=False),
    ] = None,
    page: PageOption = None,
    time_limit: TimeLimitOption = 600.0,
    json_: JsonOption = False,
    lang: LangOption = None,
    debug: DebugOption = False,
) -> None:
    """See `options.command_help`."""
    from vitscope.recipes.naming import is_curve, kind_of

    refuse_what_is_no_page(page, option="--html")
    refuse_no_time(time_limit)
    _refuse_odd_numbers(loss, lr, batch_size, classes)
    is_code = not is_curve(target) and kind_of(target) == "code"
    if is_code and not is_apart():
        raise typer.Exit(run_apart(ctx.obj, what=target, seconds=time_limit, lang=chosen(lang)))
    if is_apart():
        keep_within_limits()
    from vitscope.recipes.code import parse_kwargs
    from vitscope.recipes.examining import Question

    question = Question(
        kwargs=parse_kwargs(kwargs),
        image_size=image_size,
        channels=channels,
        classes=classes,
        data=data,
        loss=loss,
        lr=lr,
        batch_size=batch_size,
        reference=reference,
        deep=deep,
        checks=None if checks is None else [each.strip() for each in checks.strip(", ").split(",")],
    )
    _examine(target, question, page, is_json=json_, lang=chosen(lang))


def _examine(target: str, question: Question, page: Path | None, *, is_json: bool, lang: Lang) -> None:
    """Examines, shows, and ends with 1 where something is an error."""
    from vitscope._core.files import write_text
    from vitscope.recipes.examining import examine_target
    from vitscope.report.doctoring.page import page_of

    with (
        no_interrupt_of_theirs(target),
        output_and_folder_stay_ours(),
        named_progress(OPENING[lang]) as progress,
    ):
        found = examine_target(target, question, progress)
    if is_json:
        print_json({**found.to_dict(lang), "page": str(page) if page else None})
    else:
        show(found, lang)
    if page is not None:
        write_text(page, page_of(found, lang))
        err().print(Text(f"wrote {page}", f"{page} を書き出しました")[lang])
    if not found.healthy:
        raise typer.Exit(1)


def _refuse_odd_numbers(loss: str | None, lr: float | None, batch_size: int | None, classes: int | None) -> None:
    if loss is not None and loss not in LOSSES:
        raise UsageError(
            Text(
                f"--loss is {loss}, expected one of {', '.join(LOSSES)}",
                f"--lossに{loss}が指定されましたが、{'、'.join(LOSSES)}のいずれかを指定する必要があります",
            )
        )
    if lr is not None and not 0 < lr < float("inf"):
        raise UsageError(
            Text(
                f"--lr is {lr:g}, expected a learning rate over 0",
                f"--lrに{lr:g}が指定されましたが、0より大きい学習率を指定する必要があります",
            )
        )
    for name, value in (("--batch-size", batch_size), ("--classes", classes)):
        if value is not None and value < 1:
            raise UsageError(
                Text(
                    f"{name} is {value}, expected a number of at least 1",
                    f"{name}に{value}が指定されましたが、1以上の整数を指定する必要があります",
                )
            )
