"""The values of an environment: ``prod.profile.yaml`` says what ``{{ values.zos }}`` stands for in production."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_enterprise_orch.value_stream.messages import kind_of, missing_key
from airflow_enterprise_orch.value_stream.model_types import ID_PATTERN
from airflow_enterprise_orch.value_stream.notes import Notes
from airflow_enterprise_orch.value_stream.problems import Path, closest, listed, template_error
from airflow_enterprise_orch.value_stream.side_source import read_side_file
from airflow_enterprise_orch.value_stream.surroundings import PROFILE_SETTING, Surroundings

Value = str | int | float | bool | list[Any]

_SECRET_NAME = re.compile(
    r"(^|_)(password|passwd|passphrase|pwd|secret|token|credentials?|api_?key|access_?key|private_?key|auth_?key)(_|$)"
)
_SECRET_TEXT = re.compile(
    r"""-----BEGIN\ [A-Z ]*PRIVATE\ KEY          # PEM
    | \b(AKIA|ASIA)[0-9A-Z]{16}\b                # access keys of AWS
    | \b(ghp|gho|ghs|ghr|glpat|xox[abpr])[_-]    # tokens of GitHub, GitLab, Slack
    | \beyJ[\w-]{8,}\.eyJ                        # a JSON Web Token
    | ://[^/\s:@]+:[^/\s@]+@                     # user:password@ in an address
    | ^(Basic|Bearer)\s+\S{8,}                   # the header of a login
    """,
    re.VERBOSE,
)
_RANDOM = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[A-Za-z0-9+/_\-]{32,}={0,2}")
MAX_SUGGESTIONS = 50

_REMEDY = "keep it in an Airflow connection; profiles are no place for secrets"


def looks_secret(name: str, value: object) -> bool:
    """Guess whether a value is a password: by its name, or because it looks like a key or a token."""
    if _SECRET_NAME.search(name):
        return True
    texts = [one for one in _each(value) if isinstance(one, str)]
    return any(_SECRET_TEXT.search(one) or _RANDOM.fullmatch(one) for one in texts)


def read_profile(content: bytes, file: str, name: str) -> dict[str, Value]:
    """Return the values of one file; :raises TemplateError: with everything that is wrong with it."""
    document = read_side_file(content, file, "profile", name)
    notes = Notes(document)
    notes.unknown_keys((), document.data, ("profile", "values"), {})
    values = document.data.get("values")
    if "values" not in document.data:
        if ("values",) not in notes.meant:
            notes.problems.append(missing_key(document, (), "values", "add it, with name: value below it"))
    elif not isinstance(values, dict):
        notes.add(("values",), f"must hold keys, not {kind_of(values)}", "write 'name: value'", key=values is None)
    else:
        for key, value in values.items():
            _check(notes, key, value)
    if notes.problems:
        raise template_error(notes.problems)
    return dict(values or {})


def _check(notes: Notes, name: str, value: Any) -> None:
    path: Path = ("values", name)
    if not re.match(ID_PATTERN, name):
        notes.add(path, f"{name!r} is no id", "use a-z, 0-9 and _, beginning with a letter", key=True)
    elif looks_secret(name, value):
        notes.add(path, f"the value {name!r} looks like a password, a key or a token", _REMEDY, key=True)
    elif value is None:
        notes.add(path, "has no value", "write one, or remove the key", key=True)
    elif isinstance(value, dict) or (isinstance(value, list) and any(isinstance(one, (dict, list)) for one in value)):
        notes.add(
            path, f"must be a single value or a list of them, not {kind_of(value)}", "give each a name of its own"
        )
    elif isinstance(value, list) and (not value or None in value):
        notes.add(
            path, "the list has an entry without a value" if value else "the list is empty", "write what is in it"
        )
    elif any(isinstance(one, str) and ("{{" in one or "{%" in one) for one in _each(value)):
        notes.add(path, "a value of a profile can hold no Jinja", "write the Jinja in the template, around the value")


def _each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


class Values:
    """The values that a template can name, of one profile; files are read when the first is asked for.

    :ivar problems: what is wrong with the choice of a profile; told once.
    """

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._values: Mapping[str, Value] | None = None
        self._files: tuple[str, ...] = ()
        self._missing: dict[str, tuple[str, str, str]] = {}

    def get(self, name: str) -> Value | None:
        """Return one value; None when there is none.

        :raises TemplateError: when a file of the profile is wrong.
        """
        if self._values is None:
            self._surroundings.values_wanted = True
            found = list(self._surroundings.profiles(self._surroundings.profile))
            self._files = tuple(file for file, _ in found)
            # The nearest file comes first, and its values count.
            self._values = {
                key: value
                for file, content in reversed(found)
                for key, value in read_profile(content, file, self._surroundings.profile).items()
            }
        return self._values.get(name)

    def missing(self, name: str) -> tuple[str, str, str]:
        """Say why there is no value ``name``: what is wrong, what was probably meant, what to do."""
        if name not in self._missing:
            self._missing[name] = self._why_missing(name)
        return self._missing[name]

    def _why_missing(self, name: str) -> tuple[str, str, str]:
        profile, known = self._surroundings.profile, self._surroundings.known_profiles()
        if not known:
            return f"no profile says what 'values.{name}' is", "", "write dev.profile.yaml with profile: and values:"
        if not profile:
            remedy = f"name one of {listed(known, 'or')}: --profile, the bundle's profile, or {PROFILE_SETTING}"
            return f"no profile is chosen, so 'values.{name}' has no value", "", remedy
        if not self._files:
            remedy = f"there is {listed(known, 'and')}"
            return f"there is no profile {profile!r}, so 'values.{name}' has no value", closest(profile, known), remedy
        # Who looks for something like it looks long: not for a thousand names.
        close = closest(name, self._values or ()) if len(self._missing) < MAX_SUGGESTIONS else ""
        what = f"profile {profile!r} has no value {name!r} ({listed(self._files)})"
        names = listed(sorted(self._values or ()))
        remedy = (
            "correct it, or add it there" if close else f"add it there; it has {names}" if names else "add it there"
        )
        return what, close and f"values.{close}", remedy
