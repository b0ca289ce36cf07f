"""The exception tree. Everything vitscope raises on purpose is a `VitscopeError`.

    VitscopeError                 exit code 2: one sentence, no traceback
    ├── UsageError                a command was called with words that do not fit
    ├── ConfigError               a recipe, a --set or a spec holds a wrong key or value
    ├── DataError                 images or labels cannot be used
    │   └── CorruptImageError     files that are not the images they claim to be
    ├── ModelError                a model name, a checkpoint's shape, an input's shape
    ├── LensError                 a model's inside cannot be shown, or a picture of it cannot be proved
    ├── RunError                  a run folder is missing, finished, locked, unwritable
    │   └── CheckpointError       a checkpoint is truncated or belongs to something else
    ├── TrainingError             training cannot go on
    │   └── NonFiniteLossError    the loss became NaN or infinite
    └── Interrupted               Ctrl-C or SIGTERM; what was reached is saved (exit code 130)

A message says what was given, what was expected and what to do, in one sentence.
"""

from __future__ import annotations

from vitscope._core.text import Text


class VitscopeError(Exception):
    """Base of all errors that vitscope raises on purpose; `exit_code` is what the command ends with.

    `text` is its sentence in both languages, as far as both are known; `str` is the English one.
    """

    exit_code = 2

    def __init__(self, message: Text | str = "") -> None:
        self.text = message if isinstance(message, Text) else Text(message, message)
        super().__init__(self.text.en)


class UsageError(VitscopeError):
    """A command was called with words that do not fit."""


class ConfigError(VitscopeError):
    """A recipe, a `--set` or a spec holds a wrong key or value."""


class DataError(VitscopeError):
    """Images or labels cannot be used."""


class CorruptImageError(DataError):
    """A file or a cell is not the image it claims to be."""


class ModelError(VitscopeError):
    """An unknown model, weights that do not fit, or an input of another shape."""


class LensError(VitscopeError):
    """A model's inside cannot be shown, or what would be shown of it cannot be proved.

    Pages and reports quote it, so it is said in both languages.
    """


class RunError(VitscopeError):
    """A run folder is missing, already finished, in use or cannot be written."""


class CheckpointError(RunError):
    """A checkpoint or weight file is truncated, unreadable or belongs to something else."""


class TrainingError(VitscopeError):
    """Training cannot go on."""


class NonFiniteLossError(TrainingError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""


class Interrupted(VitscopeError):  # noqa: N818  it is not an error of anyone's
    """Ctrl-C or SIGTERM; what was reached is saved."""

    exit_code = 130
