"""The files beside a template that it refers to by name, such as its calendars.

A file of a kind lies in the folder of that kind (``calendars/``) beside the template or above it, up to the folder that
holds all templates; the nearest counts. What was looked at is noted with its hash: what was made of the template counts
only as long as all of that is the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from airflow_enterprise_orch.value_stream.problems import closest, listed
from airflow_enterprise_orch.value_stream.template_folder import MAX_BYTES

SUFFIXES = (".yaml", ".yml")
UNREADABLE = "unreadable"
LEVELS = 4
"""How many folders above a template are searched when nobody says where its templates begin."""


class Beside:
    """The files beside one template.

    :param folder: the template's own.
    :param folders: returns where files of each kind are looked for, the nearest first; most templates name none.
    :param shown: how people call ``folder``.
    :ivar seen: of each path that was looked at, relative to the template's folder, the hash; "" where no file was.
    """

    def __init__(self, folder: Path, folders: Callable[[], tuple[Path, ...]], shown: Path = Path()) -> None:
        self.folder = folder
        self._folders = folders
        self.shown = shown
        self.seen: dict[str, str] = {}

    @classmethod
    def of(cls, template: Path, root: Path | None = None) -> Beside:
        """Return what is beside a file, up to ``root``."""
        folder = template.absolute().parent
        if root is None:
            return cls(folder, lambda: (folder, *folder.parents[:LEVELS]), template.parent)
        top = root.absolute()
        above = (one for one in folder.parents if one == top or top in one.parents)
        return cls(folder, lambda: (folder, *above), template.parent)

    @classmethod
    def named(cls, root: Path, name: str) -> Beside:
        """Return what is beside a template that may lie elsewhere now: in a snapshot, all of them in one folder.

        :param root: the folder of all templates, or the snapshot.
        :param name: the template's path below the folder of all templates; files of a kind lie as they lay there.
        """
        root = root.absolute()

        def folders() -> tuple[Path, ...]:
            path = Path(name)
            places = path.parents if name and not path.is_absolute() and ".." not in path.parts else ()
            return tuple(dict.fromkeys((*(root / place for place in places), root)))

        return cls(root, folders)

    @cached_property
    def folders(self) -> tuple[Path, ...]:
        """Where files of each kind are looked for, the nearest first."""
        return self._folders()

    def name(self, path: Path) -> str:
        """Return how messages call a file that was found."""
        return Path(os.path.normpath(self.shown / _relative(path, self.folder))).as_posix()

    def find(self, kind: str, name: str) -> Path | None:
        """Return the file of that kind and name; None when there is none."""
        for folder in self.folders:
            for suffix in SUFFIXES:
                if self._look(path := folder / kind / f"{name}{suffix}"):
                    return path
        return None

    def find_file(self, name: str) -> Path | None:
        """Return a file by its path below the template's folder, or below one above it; the nearest counts.

        None when there is none; what a link makes of another place is none.
        """
        for folder in self.folders:
            path = folder / name
            if self._look(path) and path.resolve().is_relative_to(self.folders[-1].resolve()):
                return path
        return None

    def files(self, suffix: str) -> tuple[str, ...]:
        """Return the names of the files in the template's own folder that end so."""
        found = (path.name for path in self.folders[0].glob(f"*{suffix}") if not path.name.startswith((".", "_")))
        return tuple(sorted(found))

    def _look(self, path: Path) -> bool:
        """Tell whether a file is there, and note what was seen."""
        self.seen[_relative(path, self.folder)] = digest = _digest(path)
        return digest != ""

    def names(self, kind: str) -> tuple[str, ...]:
        """Return the names of the files of a kind."""
        found = {
            path.stem
            for folder in self.folders
            if (folder / kind).is_dir()
            for path in (folder / kind).iterdir()
            if path.suffix in SUFFIXES and not path.name.startswith((".", "_"))
        }
        return tuple(sorted(found))


def named_file(beside: Beside | None, name: str) -> Path | tuple[str, str, str]:
    """Return the file of that name beside a template; or what is wrong, what to do, and what was probably meant."""
    what = f"there is no file {name!r} beside the template"
    if beside is None:
        return what, "load the template from a file, beside which this one lies", ""
    path = beside.find_file(name)
    if path is not None:
        return path
    known = beside.files(Path(name).suffix)
    if name in known:
        return f"{name!r} is a link to a place outside of the templates' folder", "put the file itself there", ""
    close = closest(name, known)
    remedy = f"known are {listed(known[:10])}" if known else "put it into the template's folder"
    return what, "correct it" if close else remedy, close


def unchanged(folder: Path, seen: Mapping[str, str]) -> bool:
    """Tell whether all files that were looked at are as they were; see :attr:`Beside.seen`."""
    return all(_digest(folder / name) == digest for name, digest in seen.items())


def _digest(path: Path) -> str:
    """Return a hash of a file as far as it is ever read; "" where no file is."""
    if not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            return hashlib.sha256(file.read(MAX_BYTES + 4)).hexdigest()
    except OSError:
        return UNREADABLE  # whoever reads it says why


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()
