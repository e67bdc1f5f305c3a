"""A text of a step's work that stands in a file beside the template: read with it, checked like a text in it.

A step type says in its model which field names such a file, and which field its text becomes: the keyword
:data:`BESIDE` of the field's JSON Schema. What is compiled holds the text, and nothing of the file. So a changed file
makes another version, and a running instance keeps the text that it began with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path as FilePath

from pydantic import BaseModel, ValidationError

from airflow_enterprise_orch.errors import TemplateError
from airflow_enterprise_orch.value_stream.beside import named_file
from airflow_enterprise_orch.value_stream.draft import Draft, DraftStep
from airflow_enterprise_orch.value_stream.problems import Path, Problem, problems_of
from airflow_enterprise_orch.value_stream.secret_texts import refuse_secrets
from airflow_enterprise_orch.value_stream.steps import DelegatedStep
from airflow_enterprise_orch.value_stream.template_folder import read_file
from airflow_enterprise_orch.value_stream.templating import check_text
from airflow_enterprise_orch.value_stream.yaml_source import Document, decode, harmful_character, lines_of

BESIDE = "x-beside"
WHERE = "text"
"""What messages call the file as a whole."""


@cache
def text_files(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the fields of a step's model that name a file, and the fields that its text becomes."""
    extras = {name: field.json_schema_extra for name, field in model.model_fields.items()}
    return {name: str(extra[BESIDE]) for name, extra in extras.items() if isinstance(extra, dict) and BESIDE in extra}


def check_text_files(draft: Draft, step: DraftStep, path: Path) -> Iterator[Problem]:
    """Check the files that a step at ``path`` names; their texts become those of the step."""
    if not isinstance(step.model, DelegatedStep):
        return
    model = step.model.step_type.work_model()
    for name, becomes in text_files(model).items():
        work = dict(step.model.work)
        file = work.pop(name, None)
        if not isinstance(file, str):
            continue
        found = named_file(draft.beside, file)
        if isinstance(found, tuple) or draft.beside is None:
            what, remedy, close = found if isinstance(found, tuple) else ("", "", "")
            yield draft.document.problem((*path, step.type, name), what, remedy, suggestion=close)
            continue
        document = _read(found, draft.beside.name(found))
        if not document.problems:
            text = work[becomes] = document.data[WHERE]
            document.problems += check_text(draft, step.id, (WHERE,), text, document)
            document.problems += _limits(document, model, work, becomes)
        step.model = step.model.model_copy(update={"work": work})
        yield from document.problems


def _read(path: FilePath, file: str) -> Document:
    """Return a file as a document that holds one text, with what is wrong with it."""
    document = Document(file)
    try:
        text = decode(read_file(path, file), file, WHERE)
    except TemplateError as error:
        document.problems.extend(problems_of(error))
        return document
    document.lines = lines_of(text)
    # Lines end as YAML's do, wherever the file was written.
    document.data = {WHERE: "\n".join(document.lines)}
    document.values[(WHERE,)] = document.values[()] = (1, 1)
    document.scalars[(WHERE,)] = (0, 1, len(document.lines))  # it begins below line 0, as a literal block would
    if (harm := harmful_character(document.data[WHERE], "a text")) is not None:
        what, offset = harm
        before = lines_of(document.data[WHERE][:offset])
        document.problems.append(document.problem((WHERE,), what, "remove it", at=(len(before), len(before[-1]) + 1)))
    elif not text.strip():
        document.problems.append(document.problem((WHERE,), "the file is empty", "write the text into it"))
    else:
        refuse_secrets(document)
    return document


def _limits(document: Document, model: type[BaseModel], work: Mapping[str, object], becomes: str) -> Iterator[Problem]:
    """Say what the step's model has against the text."""
    try:
        model.model_validate(work)
    except ValidationError as error:
        for wrong in error.errors():
            if wrong["loc"][:1] == (becomes,):
                limit = wrong.get("ctx", {}).get("max_length")
                what = f"the text has more than {limit:,} characters" if limit else str(wrong["msg"])
                yield document.problem((WHERE,), what, "shorten it")
