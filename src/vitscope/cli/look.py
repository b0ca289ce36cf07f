"""`vitscope look`: a model and an image in, one page out that follows the image through the model; what was found in short on the screen."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitscope._core.errors import RunError, UsageError
from vitscope._core.files import refuse_unwritable
from vitscope._core.text import Lang, Text
from vitscope.cli.options import DebugOption, JsonOption, LangOption, chosen
from vitscope.cli.screen import err, out, print_json, table, tell_of_english_pictures

if TYPE_CHECKING:
    from vitscope.data import DataSpec
    from vitscope.report.looking.look import Look


def look(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A built-in name, a YAML file, a run folder, or package.module:callable.",
            show_default=False,
        ),
    ],
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE",
            help="A file, sample:china, sample:flower, or SOURCE:split:index (cifar10:test:3, digits:17).",
            show_default=False,
        ),
    ],
    page: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="PAGE.html", help="The page; look-MODEL-IMAGE.html here if left out.", show_default=False
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            "--figures", metavar="DIR", help="Also write every picture as PNG and SVG, for a paper.", show_default=False
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="SOURCE", help="Where the images of a source lie, e.g. a folder.", show_default=False
        ),
    ] = None,
    kwargs: Annotated[
        str | None,
        typer.Option("--kwargs", metavar="JSON", help="Arguments for package.module:callable.", show_default=False),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option("--image-size", metavar="S", help="Side of the images that code takes.", show_default=False),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option("--channels", metavar="C", help="Channels of the images that code takes.", show_default=False),
    ] = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Do every experiment in full, however large the model is.")
    ] = False,
    json_: JsonOption = False,
    lang: LangOption = None,
    debug: DebugOption = False,
) -> None:
    """See `options.command_help`."""
    from vitscope.recipes.naming import kind_of

    kind_of(model)  # no name at all shows before anything is done
    target = page if page is not None else None if json_ else _default_page(model, image)
    refuse_what_is_no_page(target)
    if figures is not None and figures.exists() and not figures.is_dir():
        raise UsageError(f"--figures {figures} is a file, expected a folder")
    from vitscope._core.files import write_text
    from vitscope.cli.predict import open_image
    from vitscope.recipes.code import parse_kwargs
    from vitscope.recipes.subject import open_subject
    from vitscope.report.looking.files import write_figures
    from vitscope.report.looking.look import look_at
    from vitscope.report.looking.page import page_of

    language = chosen(lang)
    warnings.filterwarnings("ignore", message=".*decompression bomb", category=Warning)  # our own sentence says it
    with output_and_folder_stay_ours():
        subject = open_subject(model, kwargs=parse_kwargs(kwargs), image_size=image_size, channels=channels)
        picture, label = open_image(image, _data_spec(data, subject.data))
        seen = look_at(subject, picture, image, label, thorough=thorough)
    if target is not None:
        write_text(target, page_of(seen, language))
    written = write_figures(seen, figures, language) if figures is not None else []
    if json_:
        print_json({**seen.to_dict(), "page": str(target) if target else None, "figures": [str(f) for f in written]})
        return
    _show(seen, language)
    if target is not None:
        err().print(Text(f"wrote {target}", f"{target} を書き出しました")[language])
    if figures is not None:
        many = Text(f"wrote {len(written)} pictures to {figures}", f"{figures} に図を{len(written)}個書き出しました")
        err().print(many[language])
    tell_of_english_pictures(language)


@contextmanager
def output_and_folder_stay_ours() -> Iterator[None]:
    """Sends to standard error what somebody's model prints while it is imported, built or run, from Python or below it, and comes back
    from wherever it goes."""
    begun = Path.cwd()
    sys.stdout.flush()
    ours = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(ours, 1)
        os.close(ours)
        os.chdir(begun)


def _show(seen: Look, lang: Lang) -> None:
    heads = (
        Text("#", "#"),
        Text("stage", "段階"),
        Text("shape", "形状"),
        Text("checked", "検証"),
        Text("largest error", "最大誤差"),
    )
    shown = table(*(head[lang] for head in heads), numbers=(0, 4), title=f"{seen.subject.name} ← {seen.image_name}")
    for stage in seen.stages:
        proofs = seen.proofs.get(stage.key, ())
        holds = all(proof.holds for proof in proofs)
        errors = [proof.error for proof in proofs if proof.tolerance is not None and proof.error is not None]
        mark = ("✓" if holds else Text("✗ does not hold", "✗ 不成立")[lang]) if proofs else "–"
        shown.add_row(str(stage.number), stage.name[lang], stage.shape, mark, f"{max(errors):.1e}" if errors else "–")
    for note in (*seen.subject.notes, *seen.views.shortened):
        err().print(note[lang])
    out().print(shown)
    best = "  ".join(f"{name} {100 * p:.1f} %" for _, name, _, p in seen.top(5))
    out().print(f"\n{Text('prediction', '予測')[lang]}: {best}", soft_wrap=True)
    if seen.label is not None:
        mark = {True: " ✓", False: " ✗", None: ""}[seen.is_right]
        out().print(f"{Text('label', '正解')[lang]}: {seen.label}{mark}", soft_wrap=True)
    for alarm in seen.alarms:
        out().print(f"\n✗ {alarm.text[lang]}", soft_wrap=True)


def _default_page(model: str, image: str) -> Path:
    """`look-MODEL-IMAGE.html`, whatever they are called, as far as a file's name goes."""
    names = (Path(model).resolve().name if Path(model).exists() else model, Path(image).name)
    plain = (re.sub(r"[^\w.-]+", "-", name).encode()[:120].decode(errors="ignore").strip("-.") for name in names)
    return Path("-".join(["look", *plain]) + ".html")


def refuse_what_is_no_page(target: Path | None, *, option: str = "--out") -> None:
    """Says at once what would come out at the end."""
    if target is None:
        return
    try:
        if target.is_dir():
            raise UsageError(
                Text(
                    f"{option} {target} is a folder, expected the name of a page such as {target / 'page.html'}",
                    f"{option}の{target}はフォルダです。{target / 'page.html'}のようにページの名前を指定してください",
                )
            )
        if target.suffix.lower() not in (".html", ".htm"):
            raise UsageError(
                Text(
                    f"{option} {target} would be an HTML page; give a name that ends in .html",
                    f"{option}の{target}はHTMLのページになります。.htmlで終わる名前を指定してください",
                )
            )
        if target.parent.exists() and not target.parent.is_dir():
            raise RunError(f"cannot write {target}: {target.parent} is a file; choose another folder")
        refuse_unwritable(target)
    except OSError as error:  # a name that is too long
        raise RunError(f"cannot write {target}: {error.strerror}; choose another name") from error


def _data_spec(source: str | None, own: DataSpec | None) -> DataSpec | None:
    from vitscope.data import DataSpec

    return own if source is None else DataSpec.parse({"source": source})
