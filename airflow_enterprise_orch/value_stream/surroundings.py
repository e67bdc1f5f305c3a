"""What lies beside a template for it to use: the values of environments (profiles), shared defaults and fragments.

Both are looked for in the template's folder and in the folders above it, up to the root: the bundle's folder, or the
folder that is checked. The nearest comes first. Nothing is read before a template asks for it, and what was looked at
is remembered: a plan of the DAG counts as long as all of that is still the same.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from airflow_enterprise_orch.errors import OrchestrationError, TemplateError
from airflow_enterprise_orch.value_stream.template_folder import PROFILE, SHARED, read_file

PROFILE_SETTING = "AIRFLOW__ENTERPRISE_ORCH__PROFILE"
"""The environment variable that chooses the profile where nobody names one."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")


def chosen_profile(profile: str | None) -> str:
    """Return the profile that is named, else that of the environment, else "".

    :raises TemplateError: when that can be no profile's name.
    """
    found = os.environ.get(PROFILE_SETTING, "") if profile is None else profile
    if found and not _NAME.fullmatch(found):
        raise TemplateError(f"{found!r} is no profile; use a-z, 0-9 and _, beginning with a letter ({PROFILE_SETTING})")
    return found


@dataclass(slots=True)
class Surroundings:
    """The files beside one template.

    :param folder: the template's folder below the root; "" for the root itself.
    :param profile: the profile chosen; "" for none.
    :param read: returns the content of a file by its path below the root; None when there is none.
    :param names: returns the paths of the profiles and shared files in a folder below the root.
    :param shown: returns how a file is called in messages.
    :ivar looked_at: what was looked for: the path below the root, and the hash of its content, "" for none.
    :ivar values_wanted: whether the template names a value of a profile.
    """

    folder: str = ""
    profile: str = ""
    read: Callable[[str], bytes | None] = lambda _name: None
    names: Callable[[str], Iterable[str]] = lambda _folder: ()
    shown: Callable[[str], str] = str
    looked_at: dict[str, str] = field(default_factory=dict)
    values_wanted: bool = False

    @classmethod
    def on_disk(
        cls,
        template: Path,
        root: Path | None = None,
        profile: str | None = None,
        *,
        shown: Callable[[str], str] | None = None,
    ) -> Surroundings:
        """Return what lies beside a template's file.

        :param root: the uppermost folder that is searched; by default the template's own.
        :param profile: the environment whose values count; None for that of the setting.
        :param shown: how a file is called in messages; by default with the path of the root.
        """
        root = template.parent if root is None else root
        below = PurePosixPath(os.path.relpath(template.parent, root).replace(os.sep, "/"))
        if ".." in below.parts:
            raise OrchestrationError(f"{template} is not below {root}; name a folder above it")

        def names(folder: str) -> Iterator[str]:
            for path in sorted((root / folder).iterdir()):
                if path.name.endswith((*PROFILE, *SHARED)):
                    yield str(PurePosixPath(folder) / path.name)

        return cls(
            "" if str(below) == "." else str(below),
            chosen_profile(profile),
            lambda name: _content(root / name),
            names,
            shown or (lambda name: str(root / name)),
        )

    @classmethod
    def given(cls, template: str, files: Mapping[str, Path], profile: str) -> Surroundings:
        """Return what a snapshot keeps for a template.

        :param template: the path of the template below the root.
        :param files: the path of each file below the root, and where its content lies now.
        """

        def names(folder: str) -> Iterator[str]:
            yield from sorted(name for name in files if str(PurePosixPath(name).parent) == (folder or "."))

        def read(name: str) -> bytes | None:
            return _content(files[name]) if name in files else None

        folder = str(PurePosixPath(template).parent)
        return cls("" if folder == "." else folder, chosen_profile(profile), read, names)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that are searched, the nearest first."""
        parts = PurePosixPath(self.folder).parts
        return tuple("/".join(parts[:end]) for end in range(len(parts), -1, -1))

    def shared(self, name: str) -> Iterator[tuple[str, bytes]]:
        """Yield name in messages and content of the shared files called ``name``, the nearest first."""
        yield from self._files(name, SHARED)

    def profiles(self, name: str) -> Iterator[tuple[str, bytes]]:
        """Yield name in messages and content of the files of a profile, the nearest first."""
        yield from self._files(name, PROFILE)

    def known_shared(self) -> tuple[str, ...]:
        """Return the names of all shared files within reach."""
        return self._known(SHARED)

    def known_profiles(self) -> tuple[str, ...]:
        """Return the names of all profiles within reach."""
        return self._known(PROFILE)

    def unchanged(self, looked_at: Mapping[str, str], profile: str | None) -> bool:
        """Tell whether what was looked at when a plan was made is the same now, and so the chosen profile."""
        if profile is not None and profile != self.profile:
            return False
        return all(_hash(self.read(name)) == known for name, known in looked_at.items())

    def _files(self, name: str, endings: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        if not _NAME.fullmatch(name):
            return
        for folder in self.folders:
            for ending in endings:
                path = f"{folder}/{name}{ending}" if folder else f"{name}{ending}"
                content = self.read(path)
                self.looked_at[path] = _hash(content)
                if content is not None:
                    yield self.shown(path), content

    def _known(self, endings: tuple[str, ...]) -> tuple[str, ...]:
        found = {
            PurePosixPath(path).name.removesuffix(ending)
            for folder in self.folders
            for path in self.names(folder)
            for ending in endings
            if path.endswith(ending)
        }
        return tuple(sorted(found))


def _content(path: Path) -> bytes | None:
    try:
        return read_file(path, str(path))
    except TemplateError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _hash(content: bytes | None) -> str:
    return "" if content is None else hashlib.sha256(content).hexdigest()
