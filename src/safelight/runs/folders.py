"""Folders that hold what one command made: made whole, locked while they are written, deleted with care."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar, final
from weakref import WeakValueDictionary

import filelock

from safelight.config.reading import from_dict, read_json, to_dict
from safelight.config.run import FORMAT_VERSION
from safelight.errors import ConfigError, RunError
from safelight.files import LEFT_OVER, refuse_links, sweep_file, why, write_file

__all__ = ["CONFIG", "INITIAL", "OwnFolder", "TemporaryFolder", "kind_of", "one_of", "read_object"]

CONFIG, LOCK = "config.json", ".lock"
INITIAL = "state/initial.safetensors"  # the weights that a run starts from
USES = {  # what to do with a folder of the other kind
    "run": "measure it with safelight evaluate {0}, or continue it with safelight train --resume {0}",
    "search": "see it with safelight report {0}, or train by its winner with --config {0}/best.json",
}
NOTHING = "(?!)"  # as a regular expression
STARTED = {"state": r"initial\.safetensors"}  # what is written before the config

T = TypeVar("T")


@final
class TemporaryFolder:
    """A folder that is deleted with the last object that works in it: this, or an `OwnFolder` of its path.

    Example:
        >>> folder = TemporaryFolder()
        >>> path = folder.path
        >>> del folder
        >>> path.exists()
        False
    """

    alive: ClassVar[WeakValueDictionary[Path, TemporaryFolder]] = WeakValueDictionary()

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="safelight-"))
        self.delete = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
        self.alive[self.path] = self

    def __deepcopy__(self, memo: object) -> TemporaryFolder:
        return self


class OwnFolder(ABC):
    """A folder of ours: its config.json makes it one, and goes last when it is deleted.

    Args:
        path: the folder; it need not exist before `create`.
    """

    kind: ClassVar[str]  # as in its config
    results: ClassVar[tuple[str, ...]]  # files of which one is there as soon as there is something to lose

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        self._temporary = TemporaryFolder.alive.get(self.path.absolute())  # kept as long as this

    @property
    def figures(self) -> Path:
        """Folder of the pictures."""
        return self.at("figures")

    def at(self, name: str) -> Path:
        """A path in the folder.

        Raises:
            RunError: a link is on the way, which might lead anywhere.
        """
        return refuse_links(self.path / name, self.path)

    @property
    @abstractmethod
    def own_files(self) -> dict[str, str]:
        """What the project writes beside config.json: by sub-folder, a regular expression of the names.

        Raises:
            RunError: a file that tells is damaged.
        """

    @abstractmethod
    def read_config(self) -> object:
        """Read and check config.json.

        Raises:
            RunError: there is none, or it is not one of ours.
        """

    @contextmanager
    def create(self, overwrite: bool = False) -> Iterator[None]:
        """Make the folder, locked and with nothing of ours in it; its config makes it a run.

        Args:
            overwrite: delete a run that is there; files that are not ours stay. One without a finished epoch
                or trial is begun anew without being asked.

        Raises:
            RunError: something else is there, or the folder cannot be written.
        """
        try:
            self._refuse_occupied(overwrite)
        except RunError:
            if (self.path / LOCK).exists():
                with self._alone(LOCK):  # what is half made by another process says nothing
                    pass
            raise
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(
                f"cannot make the folder {self.path}: {why(error)} or choose another --out"
            ) from None
        with self.locked():
            self._refuse_occupied(overwrite)  # another process may have been quicker
            own = self.own_files if (self.path / CONFIG).exists() else STARTED
            for path in [path for place, names in own.items() for path in self._own(place, names)]:
                path.unlink(missing_ok=True)
            (self.path / CONFIG).unlink(missing_ok=True)  # last: until then it is a run
            yield

    def _own(self, place: str, names: str) -> list[Path]:
        """Files in a sub-folder whose whole names fit; nothing else is ever deleted."""
        folder = self.path / place
        ways = [part for part in (folder, *folder.parents) if self.path in part.parents]
        if not folder.is_dir() or any(part.is_symlink() for part in ways):
            return []
        return [path for path in folder.iterdir() if re.fullmatch(names, path.name) and not path.is_dir()]

    def _refuse_occupied(self, overwrite: bool) -> None:
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_dir()):
            raise RunError(
                f"expected a new folder, but {self.path} is a link or a file; choose another --out"
            )
        if not self.path.exists():
            return
        if not (self.path / CONFIG).exists():
            before = [path for place, names in STARTED.items() for path in self._own(place, names)]
            started = {self.path / LOCK, *before, *self._left_over()}
            if all(path in started or path == self.path / "state" for path in self._everything()):
                return
            raise RunError(
                f"expected a new or empty folder, but {self.path} holds other files; choose another --out"
            )
        if not overwrite and any((self.path / name).exists() for name in self.results):
            raise RunError(
                f"{self.path} already holds a {self.kind}; continue it with --resume {self.path}, replace it "
                "with --overwrite, or choose another --out"
            )
        if (found := kind_of(self.path)) != self.kind:
            raise RunError(
                f"expected a new or empty folder, but {self.path} holds a {found}; choose another --out"
            )
        self.read_config()  # only what is surely ours is deleted
        here = self.path.resolve()
        if here in (Path.cwd(), *Path.cwd().parents, Path.home(), *Path.home().parents):
            raise RunError(
                f"{self.path} holds the current or the home folder and is not deleted; choose another --out"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process from training in the same folder; a killed one leaves no lock behind.

        Raises:
            RunError: another process is at it, or the folder cannot be written.
        """
        with self._alone(LOCK):
            for path in self._left_over():
                sweep_file(path)
            yield

    @contextmanager
    def _alone(self, name: str, wait: float = 0) -> Iterator[None]:
        lock = filelock.FileLock(self.at(name), timeout=wait)
        try:
            lock.acquire()
        except filelock.Timeout:
            raise RunError(f"another process is working on {self.path}; wait for it, or stop it") from None
        except OSError as error:
            raise RunError(f"cannot write to {self.path}: {why(error)} or choose another folder") from None
        try:
            yield
        finally:
            lock.release()

    def _left_over(self) -> list[Path]:
        """What a command that was killed while it wrote has left where it writes."""
        places = ("", "state", "figures", "figures/epochs", "figures/evaluation")
        return [path for place in places for path in self._own(place, LEFT_OVER)]

    def _everything(self) -> Iterator[Path]:
        yield from self.path.iterdir()
        if (state := self.path / "state").is_dir():
            yield from state.iterdir()

    def write_config(self, config: Any) -> None:
        """Write config.json from a config dataclass."""
        write_file(self.path / CONFIG, json.dumps(to_dict(config), indent=2) + "\n")

    def _read_config(self, cls: type[T]) -> T:
        path, values = self.path / CONFIG, _read_values(self.path)
        if (found := values.get("kind")) != self.kind:
            advice = USES[found].format(self.path) if found in USES else "choose another"
            raise RunError(f"expected a {self.kind}, but {self.path} holds a {found}; {advice}")
        try:
            return from_dict(cls, values, str(path))
        except ConfigError as error:
            raise RunError(str(error)) from None


def one_of(names: Iterable[str]) -> str:
    """A regular expression of names.

    Example:
        >>> one_of(["loss", "parts"])
        '(loss|parts)'
    """
    return f"({'|'.join(map(re.escape, names)) or NOTHING})"


def kind_of(path: str | os.PathLike[str]) -> str:
    """What a folder of ours holds: run or search.

    Raises:
        RunError: it is none of ours.
    """
    return str(_read_values(Path(path).expanduser()).get("kind"))


def read_object(path: Path, advice: str) -> dict[str, Any]:
    """Read a JSON object that a folder of ours holds.

    Args:
        path: the file.
        advice: what to do where it cannot be read.

    Raises:
        RunError: it cannot be read, or is none.
    """
    try:
        return read_json(path)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {why(error)}") from None
    except ConfigError as error:
        raise RunError(f"{error}; {advice}") from None


def _read_values(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not folder.is_dir():
        raise RunError(f"expected a run folder, but {folder} is not a folder; see safelight train --help")
    refuse_links(path, folder)
    if not path.is_file():
        raise RunError(f"expected a run folder, but {folder} has no config.json; see safelight train --help")
    values = read_object(path, "train again")
    version = values.get("format_version")
    if version != FORMAT_VERSION:
        raise RunError(
            f"{path}: expected format_version {FORMAT_VERSION}, got {version!r}; "
            "use the version of safelight that wrote it"
        )
    return values
