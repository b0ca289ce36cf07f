"""All that a resume needs, in one file, written whole or not at all; and the weights alone, as safetensors.

`checkpoint/state.pt` holds tensors and plain values only and is read with `weights_only=True`: opening a checkpoint that somebody
handed you runs none of their code. Rows of `metrics.csv` are kept in it too, so that the file can be made again after a crash.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vitscope._core.errors import CheckpointError
from vitscope._core.files import written_whole
from vitscope.runs.metrics import EpochMetrics

FORMAT = 2
STATE_FILE = "state.pt"
DIGEST = "sha256"
"""Key of the metadata of `model.safetensors` that holds a digest of its numbers; a file of somebody else's has none."""

Identity = Mapping[str, str]
"""What decides a training, each part as a digest, such as `recipe` and `data`: a checkpoint is taken up only by the same training."""


@dataclass
class Progress:
    """How far a training has come. Sums run over the epoch so far, on this process's images."""

    epoch: int = 0
    """Whole epochs behind us."""
    batch: int = 0
    """Batches of the current epoch behind us."""
    step: int = 0
    """Optimizer steps behind us."""
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    """Time spent in the training part of the current epoch."""
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    """Loss, right answers, images, of this process."""
    rows: list[EpochMetrics] = field(default_factory=list)


def save_checkpoint(folder: Path, identity: Identity, progress: Progress, parts: dict[str, Any]) -> Path:
    """Writes a checkpoint; the one before stays until this one is whole.

    Args:
        folder: the run's `checkpoint/`.
        identity: what training this belongs to; a resume compares it part by part.
        progress: how far it has come.
        parts: state dicts by name (`model`, `optimizer`, …).
    """
    path = folder / STATE_FILE
    with _writing(path) as temporary, temporary.open("wb") as handle:
        torch.save({"format": FORMAT, "identity": dict(identity), "progress": asdict(progress), **parts}, handle)
    return path


def load_checkpoint(folder: Path, identity: Identity) -> tuple[Progress, dict[str, Any]] | None:
    """The last checkpoint of a run, or None where there is none yet.

    Raises:
        CheckpointError: it is truncated, of another format, or of another training.
    """
    path = folder / STATE_FILE
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:  # torch reads past a wrong checksum
            if archive.testzip() is not None:
                raise ValueError("a checksum is wrong")
        parts: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        found, whose = parts.pop("format"), parts.pop("identity")
        values = parts.pop("progress")
        progress = Progress(**{**values, "rows": [EpochMetrics(**row) for row in values["rows"]]})
    except (
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
        pickle.UnpicklingError,
        EOFError,
        OSError,
        KeyError,
        ValueError,
        AttributeError,
        TypeError,
    ) as error:
        reason = "it holds more than tensors and numbers" if isinstance(error, pickle.UnpicklingError) else "damaged"
        raise CheckpointError(
            f"{path} is not a whole vitscope checkpoint ({reason}); put a copy of it back, or start anew with another --out"
        ) from None
    if found != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {found}, this vitscope reads {FORMAT}; use the version that wrote it"
        )
    for part in dict.fromkeys((*identity, *whose)):
        if whose.get(part) != identity.get(part):
            raise CheckpointError(
                f"{path} belongs to another {part} than this run's; put the {part} back or choose a new --out"
            )
    return progress, parts


def save_weights(path: Path, model: nn.Module) -> None:
    """Writes a model's weights as safetensors, whole or not at all; tensors that share memory are written once each by name."""
    seen: set[tuple[int, int]] = set()
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        key = (tensor.untyped_storage().data_ptr(), tensor.storage_offset())
        tensors[name] = tensor.detach().cpu().contiguous() if key not in seen else tensor.detach().cpu().clone()
        seen.add(key)
    with _writing(path) as temporary:
        save_file(tensors, temporary, {DIGEST: _digest(tensors)})
        temporary.chmod(0o666 & ~_umask())  # safetensors lets nobody but the owner read


def load_weights(path: Path, model: nn.Module) -> None:
    """Reads weights into a model.

    Raises:
        CheckpointError: the file is missing, truncated, or holds other names or shapes than the model.
    """
    try:
        with safe_open(path, framework="pt") as file:
            digest = (file.metadata() or {}).get(DIGEST)
        tensors = load_file(path)
    except FileNotFoundError:
        raise CheckpointError(f"{path} does not exist; a run has it once its first epoch has ended") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}); copy it again or resume the run"
        ) from None
    if digest is not None and digest != _digest(tensors):
        raise CheckpointError(
            f"{path} is damaged: its numbers are not those that were saved; copy it again or resume the run"
        )
    own = model.state_dict()
    missing, foreign = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or foreign:
        raise CheckpointError(
            f"{path} does not fit the model in config.json: {len(missing)} names are missing"
            f"{f' (such as {missing[0]})' if missing else ''} and {len(foreign)} unknown"
            f"{f' (such as {foreign[0]})' if foreign else ''}; is it from another run?"
        )
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise CheckpointError(
                f"{path}: '{name}' has shape {tuple(tensor.shape)}, the model in config.json wants {tuple(own[name].shape)}; is it from another run?"
            )
    model.load_state_dict(tensors)


@contextmanager
def _writing(path: Path) -> Iterator[Path]:
    """`written_whole`, also where torch or safetensors wrap the system's error in their own."""
    with written_whole(path) as temporary:
        try:
            yield temporary
        except (RuntimeError, SafetensorError) as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise OSError(None, f"{reason} (is the disk full?)") from error


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Of all numbers, in the order of the names: safetensors has no checksum of its own."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(tensors[name].flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
