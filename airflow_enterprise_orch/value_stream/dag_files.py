"""The DAG files of a snapshot: what Airflow reads of each template, three lines that say where it is."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.template_folder import TemplateFile, duplicate_message

# Airflow skips a DAG file that does not hold the words "airflow" and "dag" (its safe mode).
_TEMPLATE = """# Written by TemplateBundle for {name!r}: an airflow dag. Change the template, not this file.
from pathlib import Path
from airflow_enterprise_orch.value_stream.loader import load_template
load_template(Path(__file__).with_name({file!r}), globals(), name={name!r}{more})
"""
REJECTED = """# Written by TemplateBundle for {name!r}: an airflow dag. Change the template, not this file.
from airflow_enterprise_orch.value_stream.loader import reject_template
reject_template({message!r}, globals(), stream={stream!r})
"""
GONE = """# Written by TemplateBundle for {name!r}, whose running instances go on: an airflow dag.
from pathlib import Path
from airflow_enterprise_orch.value_stream.served_on import serve_on
serve_on(Path(__file__).parent, globals(), stream={stream!r}, version={version!r}, why={why!r}, day={day!r})
"""
EDITS = """# Written by TemplateBundle: makes no airflow dag, and says what is wrong with templates that were edited.
from pathlib import Path
from airflow_enterprise_orch.value_stream.served_on import report_broken_edits
report_broken_edits(Path(__file__).parent, globals())
"""


def dag_file(
    stem: str, template: TemplateFile, group: Sequence[TemplateFile], used: Mapping[str, str], profile: str
) -> str:
    """Return the DAG file of a template; :raises TemplateError: when nothing can be served of it."""
    if template.unreadable:
        raise TemplateError(template.unreadable)
    if len(group) > 1:
        raise TemplateError(duplicate_message(template, tuple(group)))
    more = f", profile={profile!r}, beside={dict(used)!r}" if used else ""
    return _TEMPLATE.format(name=template.name, file=f"{stem}.yaml", more=more)


def stem_of(template: TemplateFile, group: Sequence[TemplateFile]) -> str:
    """Return the stem of a template's DAG file: its stream, or else a name that no stream can have.

    Airflow looks for the DAG file of a running instance by the name that the file has *now*: so a template may be
    renamed or moved at any time.
    """
    if template.stream and len(group) < 2:
        return template.stream
    readable = re.sub(r"[^A-Za-z0-9_]", "-", Path(template.name).stem)[:60]
    return f"{readable}-{hashlib.sha256(os.fsencode(template.name)).hexdigest()[:8]}"
