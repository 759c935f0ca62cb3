"""The errors that safelight raises, one small tree.

Every message is one line that says what was expected, what came, and what to do.
"""

__all__ = ["ConfigError", "DataError", "Interrupted", "RunError", "SafelightError", "TrainingError"]


class SafelightError(Exception):
    """A mistake or a fault that a user can act on; the base of all errors raised on purpose."""


class ConfigError(SafelightError):
    """A setting has the wrong name, type or range."""


class DataError(SafelightError):
    """Images cannot be found, fetched, read or used."""


class RunError(SafelightError):
    """A run folder cannot be made, read, continued or written."""


class TrainingError(SafelightError):
    """Training went wrong: the loss is no longer finite, or a network's output does not fit."""


class Interrupted(SafelightError):  # noqa: N818  (no error: it was asked for)
    """Training was asked to stop; what was learned so far is saved and can be continued."""
