"""Data sets of the Hugging Face hub, through `datasets`. In goes `cifar10`, `cifar100` or `hub:owner/name`, out comes a source.

What a data set holds is remembered after the first load, so that a later start neither imports `datasets` nor asks the hub; the
images it then needs are in the cache. A newer version is fetched for another `data.revision`. No code of a repository is ever run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vitscope._core.errors import DataError, RunError
from vitscope._core.files import write_text
from vitscope.data.cache import cache_root
from vitscope.data.digests import RememberedDigests
from vitscope.data.sources.base import SPLIT_WORDS, Digester, Record, Source, Split, evenly, look_at
from vitscope.data.sources.cifar_names import CIFAR10, CIFAR100
from vitscope.data.sources.columns import Columns, find_columns
from vitscope.data.spec import DataSpec

REPOSITORIES = {"cifar10": "uoft-cs/cifar10", "cifar100": "uoft-cs/cifar100"}
KNOWN_NAMES = {"cifar10": CIFAR10, "cifar100": CIFAR100}
SAMPLES = 64
REMEMBERED = 2
"""Format of what is remembered; in format 1 a single channel was a guess from the first rows."""
ROWS_AT_A_TIME = 256
ANSWER_SECONDS = 10.0


def open_hub(spec: DataSpec) -> Source:
    """A data set of the hub; fetched now if it never was.

    Raises:
        DataError: it cannot be reached, does not exist, or has no images with labels.
    """
    repo = REPOSITORIES.get(spec.source) or spec.source.partition(":")[2]
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise DataError(
            f"'{spec.source}' does not name a data set of the hub; expected hub:owner/name, e.g. hub:uoft-cs/cifar10"
        )
    hub = HubDataset(repo, spec)
    facts = hub.facts()
    splits: dict[str, Split] = {
        name: HubSplit(hub, name, told["count"], told["key"]) for name, told in facts["splits"].items()
    }
    size = tuple(facts["native_size"]) if facts["native_size"] else None
    name = spec.source if spec.source in REPOSITORIES else repo
    return Source(name, tuple(facts["names"]), splits, look=lambda: (facts["channels"], size))


class HubDataset:
    """One repository: what is remembered of it, and its rows where they are needed."""

    def __init__(self, repo: str, spec: DataSpec) -> None:
        self.repo, self._spec = repo, spec
        asked = json.dumps([repo, spec.config, spec.revision, spec.image_column, spec.label_column])
        self._memory = cache_root() / "hub" / f"{hashlib.sha256(asked.encode()).hexdigest()[:24]}.json"

    def facts(self) -> dict[str, Any]:
        """Label names, channels, size and splits, as remembered or else as found now."""
        with suppress(OSError, ValueError, KeyError):
            held = json.loads(self._memory.read_text(encoding="utf-8"))
            if held["format"] == REMEMBERED or (held["format"] == 1 and held["channels"] == 3):
                return dict(held)
        return self._look()

    def rows(self, split: str) -> Iterator[tuple[Any, int]]:
        """Encoded image cells and label positions of a split.

        Raises:
            DataError: the data set is no longer the one that is remembered.
        """
        before, now = self.facts(), self._look()
        if before["splits"].get(split) != now["splits"].get(split):
            raise DataError(
                f"{self.repo} has changed on the hub since it was last used; start again to use the new version"
            )
        lookup = {value: i for i, value in enumerate(now["values"])}
        wanted = [self.columns.image, self.columns.label]
        rows = self.loaded[split].select_columns(wanted).with_format("arrow")
        for table in rows.iter(batch_size=ROWS_AT_A_TIME):
            for cell, value in zip(table.column(wanted[0]), table.column(wanted[1]).to_pylist(), strict=True):
                if value not in lookup:
                    raise DataError(
                        f"{self.repo} {split} has the label {value!r}, expected one of the {len(lookup)} classes"
                    )
                yield cell.as_py(), lookup[value]

    @cached_property
    def loaded(self) -> dict[str, Any]:
        """The data set's splits by our names, `train` first."""
        found = load(self.repo, self._spec)
        ours = {SPLIT_WORDS.get(str(name).lower(), str(name)): split for name, split in found.items()}
        if "train" not in ours:
            if len(ours) != 1:
                raise DataError(
                    f"{self.repo} has no training split (found: {', '.join(sorted(ours))}); choose another data set"
                )
            ours = {"train": next(iter(ours.values()))}
        return {name: ours[name] for name in sorted(ours, key=lambda n: (n != "train", n))}

    @cached_property
    def columns(self) -> Columns:
        """Where images and labels stand."""
        return find_columns(self.loaded["train"].features.arrow_schema, self.repo, self._spec)

    def _look(self) -> dict[str, Any]:
        """Loads the data set, and remembers what it holds."""
        columns = self.columns
        labels = {
            name: list(split[columns.label])
            for name, split in self.loaded.items()
            if columns.label in split.column_names
        }
        usable = [name for name, values in labels.items() if name == "train" or columns.is_labelled(values)]
        names, lookup = columns.label_meaning({name: labels[name] for name in usable})
        digest = RememberedDigests(cache_root(), Path("hub") / self.repo)
        splits = {name: {"count": len(self.loaded[name]), "key": self._key(name, digest)} for name in usable}
        train = self.loaded["train"]
        channels, size = look_at(self._images(train.select(evenly(range(len(train)), SAMPLES))))
        if channels == 1:  # one colour image behind grey samples would lose its colour without a word
            channels, size = look_at(image for name in usable for image in self._images(self.loaded[name]))
        found = {
            "format": REMEMBERED,
            "repository": self.repo,
            "names": KNOWN_NAMES.get(self._spec.source, names),
            "values": list(lookup),
            "channels": channels,
            "native_size": size,
            "splits": splits,
        }
        with suppress(RunError):  # not remembering only costs time
            write_text(self._memory, json.dumps(found))
        return dict(json.loads(json.dumps(found)))

    def _images(self, rows: Any) -> Iterator[Path | bytes]:
        """The images of some rows, not decoded; empty cells left out."""
        for table in rows.select_columns([self.columns.image]).with_format("arrow").iter(batch_size=ROWS_AT_A_TIME):
            for cell in table.column(0):
                if image := encoded(cell.as_py()):
                    yield image

    def _key(self, split: str, digest: Digester) -> str:
        """Digest of the files that `datasets` keeps the rows in, or of the rows where it keeps none."""
        rows = self.loaded[split]
        files = [part["filename"] for part in rows.cache_files]
        parts = digest(files) if files else [rows.data.table.schema.to_string(), str(rows.data.table.to_pydict())]
        return hashlib.sha256(json.dumps([self.columns.image, self.columns.label, parts]).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class HubSplit(Split):
    """A split of a hub data set; its rows are loaded only when the cache has not got them."""

    hub: HubDataset
    name: str
    count: int
    content: str

    def __len__(self) -> int:
        return self.count

    def key(self, digest: Digester) -> str:
        return f"hub {self.content}"

    def records(self) -> Iterator[Record]:
        for row, (cell, label) in enumerate(self.hub.rows(self.name)):
            yield Record(f"{self.hub.repo} {self.name} row {row}", label, encoded(cell))


def encoded(cell: Any) -> bytes | Path:
    """An image cell's bytes, or the file in the local hub cache that it points to; empty bytes where there is neither."""
    if isinstance(cell, dict):
        if cell.get("bytes") is None and cell.get("path") and _kept_from_hub(Path(cell["path"])):
            return Path(cell["path"])
        cell = cell.get("bytes")
    return bytes(cell) if cell is not None else b""


def _kept_from_hub(path: Path) -> bool:
    """Whether a file is one that was fetched; a repository must not make us read anything else of this machine."""
    import datasets
    from huggingface_hub import constants

    homes = (constants.HF_HUB_CACHE, datasets.config.HF_CACHE_HOME, datasets.config.HF_DATASETS_CACHE)
    return any(path.resolve().is_relative_to(Path(home).expanduser().resolve()) for home in homes)


def load(repo: str, spec: DataSpec) -> dict[str, Any]:
    """All splits of a repository, from the hub or from what `datasets` keeps of it.

    Raises:
        DataError: one sentence for whatever went wrong.
    """
    import datasets
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    otherwise = "give a local folder as the source instead"
    if spec.source in REPOSITORIES:
        otherwise = f"give the official binary archive with data.archive, or {otherwise}"
    try:
        with _offline(not _answers(repo, spec.revision)):
            found = datasets.load_dataset(repo, spec.config, revision=spec.revision)
    except (RepositoryNotFoundError, datasets.exceptions.DatasetNotFoundError):
        raise DataError(f"{repo} does not exist on the hub, or is not public; check the name, or {otherwise}") from None
    except RevisionNotFoundError:
        raise DataError(f"{repo} has no revision '{spec.revision}' on the hub; correct data.revision") from None
    except ConnectionError:
        raise DataError(f"the hub cannot be reached for {repo}; connect to the network, or {otherwise}") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        advice = "name one with data.config" if "onfig" in reason else otherwise
        raise DataError(f"{repo} cannot be loaded from the hub ({reason}); {advice}") from None
    return dict(found)


def _answers(repo: str, revision: str | None) -> bool:
    """Whether the hub answers at all; asked once, because `datasets` would ask for half a minute before it gives up.

    Raises:
        RepositoryNotFoundError, RevisionNotFoundError: it answers that there is no such thing.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    try:
        HfApi().dataset_info(repo, revision=revision, timeout=ANSWER_SECONDS)
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise
    except Exception:  # no network, a proxy, an overloaded hub: what is kept on this machine may still do
        return False
    return True


@contextmanager
def _offline(wanted: bool) -> Iterator[None]:
    """While it lasts, `datasets` and `huggingface_hub` use only what is on this machine."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    if wanted:
        datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
