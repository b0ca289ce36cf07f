"""From a source's name to the source. In goes a `DataSpec`, out comes a `Source`, or one sentence with the nearest name."""

from __future__ import annotations

import os
from pathlib import Path

from vitscope._core.errors import DataError
from vitscope._core.suggest import did_you_mean_text, nearest
from vitscope._core.text import Text
from vitscope.data.sources.base import Source
from vitscope.data.spec import DataSpec

SOURCE_NAMES = ("digits", "cifar10", "cifar100")


def find_source(spec: DataSpec) -> Source:
    """Opens the source that `spec.source` names; no image is decoded.

    Raises:
        DataError: there is no such source, folder or file, or it holds no usable data set.
    """
    name = spec.source
    if name == "digits":
        from vitscope.data.sources.digits import open_digits

        return open_digits()
    head, _, rest = name.partition(":")
    if head in ("cifar10", "cifar100") and (rest or spec.archive):
        from vitscope.data.sources.cifar import open_cifar_archive

        return open_cifar_archive(head, Path(rest or spec.archive or "").expanduser())
    if head == "hub" or name in ("cifar10", "cifar100"):
        from vitscope.data.sources.hub import open_hub

        return open_hub(spec)
    return _open_path(Path(name).expanduser(), spec)


def _open_path(path: Path, spec: DataSpec) -> Source:
    try:
        if not path.exists():
            raise DataError(_not_found(spec.source, path))
    except OSError as error:
        raise DataError(
            Text(
                f"folder {spec.source} cannot be read ({error.strerror}); give an existing folder",
                f"フォルダ{spec.source}を読めません（{error.strerror}）。存在するフォルダを指定してください",
            )
        ) from None
    if not path.is_dir():
        raise DataError(
            Text(
                f"{spec.source} is a file, expected a folder; for the binary CIFAR archive write cifar10:{spec.source} "
                f"or cifar100:{spec.source}",
                f"{spec.source}はファイルですが、フォルダを指定する必要があります。CIFARのバイナリアーカイブなら"
                f"cifar10:{spec.source}またはcifar100:{spec.source}と書いてください",
            )
        )
    files = files_below(path)
    parquet = [name for name in files if name.lower().endswith(".parquet")]
    if parquet:
        from vitscope.data.sources.parquet_folder import open_parquet_folder

        return open_parquet_folder(path, parquet, spec)
    from vitscope.data.sources.image_folder import open_image_folder

    return open_image_folder(path, files)


def files_below(root: Path) -> list[str]:
    """All files below a folder as relative paths with `/`, hidden ones left out."""
    found: list[str] = []
    pending = [""]
    while pending:
        prefix = pending.pop()
        try:
            with os.scandir(root / prefix) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        continue
                    if entry.is_dir(follow_symlinks=prefix.count("/") < 2):
                        pending.append(f"{prefix}{entry.name}/")
                    elif entry.is_file() or not os.path.exists(entry.path):  # noqa: PTH110  no pipes; a dangling link is told later
                        found.append(prefix + entry.name)
        except PermissionError as error:
            raise DataError(f"{error.filename} cannot be read (permission denied); change its permissions") from None
    return sorted(found)


def _not_found(name: str, path: Path) -> Text:
    """The sentence for a source that does not exist: a path gets its nearest sibling, a word the nearest source or folder."""
    looks_like_path = "/" in name or os.sep in name or name.startswith((".", "~"))
    parent = path.parent
    siblings = sorted(p.name for p in parent.iterdir() if p.is_dir()) if parent.is_dir() else []
    if looks_like_path:
        if not parent.is_dir():
            missing = path
            while not missing.parent.is_dir():
                missing = missing.parent
            return Text(
                f"folder {name} does not exist (already {missing} is missing); give an existing folder",
                f"フォルダ{name}がありません（{missing}の時点で存在しません）。存在するフォルダを指定してください",
            )
        best = nearest(path.name, siblings)
        near, near_ja = (
            (f" (did you mean '{parent / best}'?)", f"（'{parent / best}'の間違いではありませんか？）")
            if best
            else ("", "")
        )
        return Text(
            f"folder {name} does not exist{near}; give an existing folder",
            f"フォルダ{name}がありません{near_ja}。存在するフォルダを指定してください",
        )
    hint = did_you_mean_text(name, [*SOURCE_NAMES, *siblings])
    return Text(
        f"unknown data source '{name}'{hint.en}; expected digits, cifar10, cifar100, hub:owner/name or an existing folder",
        f"データ'{name}'が見つかりません{hint.ja}。digits、cifar10、cifar100、hub:owner/name、または存在するフォルダを指定してください",
    )
