"""The YAML vocabulary of the container steps."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from airflow_enterprise_orch.delegation.work import Work, is_template, rendered_pattern

ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
SCRIPT_OPTION = re.compile(r"-[A-Za-z]*[ceE]|--(?:command|eval|execute)")
"""After these, interpreters (sh, bash, python, perl, node, psql) take the next argument for program text."""
INTERPRETER = re.compile(r"(?:ba|da|a|k|z)?sh|busybox|python[0-9.]*|perl|ruby|node|php|lua|awk|psql|mysql|sqlplus|pwsh")

# distribution/reference, "reference := name [":" tag] ["@" digest]".
_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?/)?"
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
IMAGE = rf"{_HOST}{_PATH}(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?"


def _plain(value: str) -> str:
    if "\0" in value:
        raise ValueError("a text for a container cannot hold the character NUL")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("a text for a container cannot hold half a character (a lone surrogate)")
    return value


def _environment(values: dict[str, str]) -> dict[str, str]:
    for name in values:
        if not ENVIRONMENT_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of an environment variable (letters, digits, _)")
    return values


def no_pasting(words: list[str]) -> list[str]:
    """Refuse Jinja in program text: what it becomes would be run as code.

    The image's own entry point is not known here, so a command that begins with such an option is refused as well.
    """
    for number, (option, text) in enumerate(pairwise(words)):
        before = words[:number]
        run_as_code = not before or any(INTERPRETER.fullmatch(word.rpartition("/")[2]) for word in before)
        if run_as_code and SCRIPT_OPTION.fullmatch(option) and is_template(text):
            raise ValueError(
                f"values are not pasted into the text after {option!r}: give them under env and write $NAME in the "
                f"text, or as further words of the command"
            )
    return words


Text = Annotated[str, AfterValidator(_plain)]
Image = Annotated[str, rendered_pattern(IMAGE, "an image, such as registry.example.com/crm/tools:1.4")]
AbsolutePath = Annotated[str, rendered_pattern(r"/[^\0\n:]*", "an absolute path, such as /data")]
MountSource = Annotated[
    str, rendered_pattern(r"/[^\0\n:]*|[A-Za-z0-9][A-Za-z0-9_.-]+", "a path on the host or the name of a volume")
]
Pull = Literal["missing", "always", "never"]
Port = Annotated[int, Field(ge=1, le=65535)]


class Part(BaseModel):
    """What a step's model is made of: as strict as the step itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Mount(Part):
    """A directory of the host, or a volume, inside the container."""

    source: MountSource = Field(description="A path on the engine's host, which must exist, or a volume's name.")
    target: AbsolutePath = Field(description="Where it is in the container.")
    read_only: bool = Field(True, description="Write false where the container has to write.")


class HealthCheck(Part):
    """How the engine finds out that an instance can serve; the command runs inside the container."""

    command: list[Text] = Field(min_length=1, description="Exit status 0 means healthy. No shell is involved.")
    interval: int = Field(5, ge=1, le=3600, description="Seconds between two checks.")
    timeout: int = Field(5, ge=1, le=3600, description="Seconds that one check may take.")
    retries: int = Field(3, ge=1, le=100, description="Failures in a row that make it unhealthy.")
    start_period: int = Field(0, ge=0, le=86400, description="Seconds in which failures do not count.")

    @model_validator(mode="after")
    def _nothing_pasted(self) -> Self:
        no_pasting(self.command)
        return self


class Publish(Part):
    """A port of the instance that the engine's host serves."""

    container: Port = Field(description="The port inside the container.")
    host: Annotated[int, Field(ge=0, le=65535)] = Field(0, description="The host's port; 0 lets the engine choose.")
    protocol: Literal["tcp", "udp"] = Field("tcp", description="The protocol of the port.")


class _Container(Work):
    """What a job and an instance have in common."""

    image: Image = Field(description="What runs. Pin it by digest where the same step must mean the same program.")
    command: list[Text] = Field(
        default_factory=list, description="The program and its arguments; no shell is involved."
    )
    entrypoint: list[Text] | None = Field(None, min_length=1, description="In place of the image's own entry point.")
    env: Annotated[dict[str, Text], AfterValidator(_environment)] = Field(
        default_factory=dict, description="Environment variables. Whoever may use the engine can read them."
    )
    directory: AbsolutePath | None = Field(None, description="Where it runs, in place of the image's own.")
    user: Annotated[str, rendered_pattern(r"[A-Za-z0-9_.-]+(?::[A-Za-z0-9_.-]+)?", "a user, user:group or uid:gid")] = (
        Field("", description="Who it runs as inside the container, in place of the image's own.")
    )
    mounts: list[Mount] = Field(default_factory=list, description="Directories and volumes from the engine's host.")
    network: Annotated[str, rendered_pattern(r"|[A-Za-z0-9][A-Za-z0-9_.-]*", "the name of a network")] = Field(
        "", description="The engine's network; its default one when empty."
    )
    memory_mb: int | None = Field(None, ge=6, description="The most memory, in MiB; more ends it as out of memory.")
    cpus: float | None = Field(None, gt=0, le=1024, description="The most processors, such as 1.5.")
    pull: Pull = Field("missing", description="When the image is fetched: missing, always or never.")
    grace: int = Field(10, ge=0, le=3600, description="Seconds between TERM and KILL when it is cancelled.")

    @model_validator(mode="after")
    def _nothing_pasted(self) -> Self:
        no_pasting([*(self.entrypoint or []), *self.command])
        return self


class ContainerRun(_Container):
    """One container that runs to its end; its exit status is the step's return code."""


class ContainerProvision(_Container):
    """One container that is left running once its health check passes: an instance, not a job."""

    health: HealthCheck | None = Field(None, description="In place of the image's own health check; one must be there.")
    publish: list[Publish] = Field(default_factory=list, description="Ports that the engine's host serves.")


class ContainerRemove(Work):
    """Stop and remove an instance that ``container.provision`` left running."""

    instance: Annotated[str, rendered_pattern(r"[0-9a-f]{12,64}", "the id of a container (12 to 64 hex digits)")] = (
        Field(description="Its id: the `job_id` of the step that provisioned it.")
    )
