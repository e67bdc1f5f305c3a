"""What is to be done: the base of every step's pydantic model."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from pydantic import AfterValidator, BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

MEANING_KEY = "x-meaning"
"""The keyword of a JSON Schema that says what a right text is, where no ``pattern`` can: it may still hold Jinja."""


def is_template(value: str) -> bool:
    """True for a text with Jinja in it: what it becomes is known only at run time."""
    return "{{" in value or "{%" in value


class Work(BaseModel):
    """The base of every step's model: frozen, strict about unknown keys, JSON all through.

    The same model is validated twice: when the template loads, texts may still hold Jinja; right before the job is
    handed over, with ``context={"rendered": True}``, none may. Constrain texts with :func:`rendered_pattern`, which
    waits for the second.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def digest(self) -> str:
        """Return a short hash of what is to be done; the same for the same work."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def rendered(cls, data: dict[str, Any]) -> Work:
        """Validate work whose texts are final."""
        return cls.model_validate(data, context={"rendered": True})


@dataclass(frozen=True)
class _RenderedPattern(AfterValidator):
    """A validator that tells the JSON Schema what it wants."""

    meaning: str = ""

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema of the text, with the meaning for editors and the reference."""
        return {**handler(core), MEANING_KEY: self.meaning}


def rendered_pattern(pattern: str, meaning: str) -> AfterValidator:
    """Return a validator for a text that must match ``pattern`` once its Jinja is rendered.

    :param meaning: what a right value is, for the message.
    """
    compiled = re.compile(pattern)

    def check(value: str, info: ValidationInfo) -> str:
        if is_template(value) and not (info.context or {}).get("rendered"):
            return value
        if not compiled.fullmatch(value):
            raise ValueError(f"{value!r} is not {meaning}")
        return value

    return _RenderedPattern(check, meaning)
