"""`vitscope predict`: a run and pictures in, the five most probable classes of each out."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from vitscope._core.errors import DataError
from vitscope._core.text import Text
from vitscope.cli.options import DebugOption, JsonOption, LangOption, RunArgument, chosen
from vitscope.cli.screen import fail, out, print_json, table

if TYPE_CHECKING:
    from PIL.Image import Image

    from vitscope.data import DataSpec


def predict(
    run: RunArgument,
    image: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...",
            help="Files, folders, SOURCE:split:index (cifar10:test:3, digits:17), or - for standard input.",
            show_default=False,
        ),
    ],
    json_: JsonOption = False,
    lang: LangOption = None,
    debug: DebugOption = False,
) -> None:
    """See `options.command_help`."""
    from vitscope.recipes.measure import top
    from vitscope.recipes.run import recipe_of_run
    from vitscope.recipes.trained import load
    from vitscope.runs import RunFolder

    language = chosen(lang)
    warnings.filterwarnings("ignore", message=".*decompression bomb", category=Warning)  # our own sentence says it
    trained = load(run)
    folder = RunFolder.open(run)
    spec = recipe_of_run(folder).data if folder.recipe.exists() else None
    results: list[dict[str, Any]] = []
    failures: list[str] = []
    for name, open_picture in pictures(image, spec):
        try:
            picture, label = open_picture()
        except DataError as error:
            failures.append(str(error))
            continue
        best = top(trained.predict([picture])[0], trained.label_names)
        results.append({"image": name, "label": label, "top": [{"label": n, "probability": p} for n, p in best]})
    if json_:
        print_json({"run": str(run), "predictions": results, "failed": failures})
    elif results:
        words = (Text("image", "画像"), Text("label", "正解"), Text("predictions", "予測"))
        shown = table(*(w[language] for w in words))
        for result in results:
            says = "  ".join(f"{t['label']} {100 * t['probability']:.1f} %" for t in result["top"])
            shown.add_row(result["image"], result["label"] or "–", says)
        out().print(shown)
    for message in failures:
        fail(message)
    if failures:
        raise typer.Exit(2)


def pictures(names: list[str], spec: DataSpec | None) -> Iterator[tuple[str, Any]]:
    """Each picture's name, and a function that opens it and gives (picture, true label or None)."""
    for name in names:
        if name == "-":
            yield "standard input", _from_standard_input
        elif Path(name).is_dir():
            yield from _in_folder(Path(name))
        else:
            yield name, lambda name=name: open_image(name, spec)


def open_image(name: str, spec: DataSpec | None) -> tuple[Image, str | None]:
    """A file, or an item of a source by its name, with its label if it has one."""
    from vitscope._core.preprocessing import decode_image
    from vitscope.data import is_item, open_item

    if is_item(name):
        item = open_item(name, spec=spec)
        return item.image, item.label
    return decode_image(Path(name), name), None


def _in_folder(folder: Path) -> Iterator[tuple[str, Any]]:
    from PIL import Image

    endings = Image.registered_extensions()
    found = sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in endings and p.is_file() and not p.name.startswith(".")
    )
    if not found:
        yield str(folder), lambda: _nothing_in(folder)
    for path in found:
        yield str(path), lambda path=path: open_image(str(path), None)


def _nothing_in(folder: Path) -> NoReturn:
    raise DataError(f"{folder} holds no image files; give a folder with images, or single files")


def _from_standard_input() -> tuple[Image, None]:
    from vitscope._core.preprocessing import decode_image

    content = sys.stdin.buffer.read()
    if not content:
        raise DataError("standard input is empty; pipe an image in, for example: vitscope predict RUN - < photo.jpg")
    return decode_image(content, "standard input"), None
