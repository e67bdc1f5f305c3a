"""Text of a profile or a shared file -> document; each is read once for all templates that use it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.messages import kind_of
from airflow_enterprise_orch.value_stream.problems import closest, problems_of, template_error
from airflow_enterprise_orch.value_stream.yaml_source import Document, decode, read_yaml


@lru_cache(maxsize=128)
def read_side_file(content: bytes, file: str, kind: str, name: str) -> Document:
    """Return a profile or a shared file that begins as it must.

    :param kind: ``profile`` or ``shared``: the key that holds its name.
    :param name: its name, as the file is called.
    :raises TemplateError: with what is wrong with it.
    """
    document = _read(content, file, kind, name)
    data = document.data
    if not isinstance(data, dict):
        what = f"the file must hold keys, not {kind_of(data)}"
        document.problems.append(document.problem((), what, f"begin with {kind}: {name}"))
    elif kind not in data:
        close = closest(kind, data)
        remedy = f"begin with {kind}: {name}"
        place = (close,) if close else ()
        document.problems.append(document.problem(place, f"the key {kind!r} is missing", remedy, key=True))
    elif data[kind] != name:
        what = f"the file is named {name!r}, this says {kind_of(data[kind])}"
        document.problems.append(document.problem((kind,), what, f"write {kind}: {name}, or rename the file"))
    if document.problems:
        raise template_error(document.problems)
    return document


def _read(content: bytes, file: str, kind: str, name: str) -> Document:
    text = decode(content, file)
    try:
        return read_yaml(text, file)
    except TemplateError as error:
        # A template's remedies where they are not these files'.
        remedies = {
            "begin with value_stream: and a name": f"begin with {kind}: {name}",
            "put each stream in a file of its own": "put each in a file of its own",
            "split the stream": "split it",
        }
        found = (replace(one, remedy=remedies.get(one.remedy, one.remedy)) for one in problems_of(error))
        raise template_error(found) from error
