"""What may stand in the files beside a template, and in a step that uses a fragment: for editors and the reference.

The readers of these files check them by hand, because they keep where each part was written; these models only tell.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from airflow_enterprise_orch.value_stream.model import Param
from airflow_enterprise_orch.value_stream.model_types import Identifier, Line, Part, StepIds

_NO_JINJA = {"not": {"pattern": r"\{\{|\{%"}}
ProfileValue = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", **_NO_JINJA},
                {"type": ["number", "boolean"]},
                {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": ["string", "number", "boolean"], **_NO_JINJA},
                },
            ]
        }
    ),
]
Given = Annotated[
    Any,
    WithJsonSchema(
        {"type": ["string", "number", "boolean", "array"], "items": {"type": ["string", "number", "boolean"]}}
    ),
]


class FragmentUse(Part):
    """Which fragment a step stands for, and what it is given."""

    fragment: Identifier = Field(description="The fragment's name in one of the shared files that use: names.")
    given: dict[Identifier, Given] = Field(
        default_factory=dict,
        alias="with",
        description="A value for each of its params: a value, one name ({{ params.amount }}), or a text with Jinja.",
    )


class UsingStep(Part):
    """A step that stands for the steps of a fragment."""

    use: FragmentUse = Field(description="The fragment whose steps stand here, as a group of this step's name.")
    title: Line | None = Field(None, description="The group's name for people.")
    after: StepIds = Field((), description="What the fragment's first steps come after.")
    group: Identifier | None = Field(None, description="The group that it stands in.")


class ProfileFile(Part):
    """The values of an environment: what {{ values.<name> }} stands for there."""

    profile: Identifier = Field(description="The environment's name, which is also its file's: prod.")
    values: dict[Identifier, ProfileValue] = Field(
        description="Each value by its name: a text, a number, true, false, or a list of these. No secrets."
    )


class SharedFragment(Part):
    """A few steps that templates use as one."""

    params: dict[Identifier, Param] = Field(
        default_factory=dict, description="What whoever uses it gives it, as the params of a stream."
    )
    steps: dict[Identifier, dict[str, Any]] = Field(
        min_length=1, description="Its steps, which see its own params and one another, and nothing else."
    )


class SharedFile(Part):
    """Defaults and fragments for the templates that name the file under use:."""

    shared: Identifier = Field(description="The file's name, without its ending: bank for bank.shared.yaml.")
    defaults: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="What steps and streams say that do not say otherwise: below a step type, below steps for all that "
        "do work, below approval, below stream.",
    )
    fragments: dict[Identifier, SharedFragment] = Field(default_factory=dict, description="Fragments, by name.")
