"""What a template says of time and of trouble: when it is due, and who is told of what."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from airflow_enterprise_orch.value_stream.model_types import (
    ADDRESS,
    PATH_ON_HOST,
    TIME_PATTERN,
    Connection,
    Criticality,
    Duration,
    Line,
    Part,
)

AlertEvent = Literal["failed", "late", "waiting", "ambiguous", "released"]


def _given(data: Any, *keys: str) -> list[str]:
    return [key for key in keys if isinstance(data, dict) and data.get(key) is not None]


class Due(Part):
    """By when something must be over: within some time of the instance's start, or by a time of day."""

    within: Duration | None = Field(
        None, description="How long after the moment from which the instance may start; time in a queue counts."
    )
    time: Annotated[str, Field(pattern=TIME_PATTERN)] | None = Field(
        None, description="A time of day on the instance's business day: 09:00."
    )
    timezone: Line | None = Field(
        None, description="Of the time of day: an IANA name; without it the schedule's, else UTC."
    )
    days: Annotated[int, Field(ge=0, le=31)] | None = Field(
        None, description="How many days after the business day the time of day is meant; without it 0."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_of_both(cls, data: Any) -> Any:
        """Refuse what says two times, or of one what belongs to the other."""
        given = _given(data, "within", "time")
        if len(given) == 2:
            raise ValueError("'within' and 'time' are both given; keep one of them")
        if given == ["within"] and (idle := _given(data, "timezone", "days")):
            raise ValueError(f"{idle[0]!r} has no effect beside 'within'; remove it, or write time instead of within")
        return data

    @model_validator(mode="after")
    def _not_never(self) -> Self:
        if self.within is None and self.time is None:
            raise ValueError('it does not say when; write within: 4h, or time: "09:00"')
        return self

    def to_plan(self, timezone: str) -> dict[str, Any]:
        """Return it as :func:`airflow_enterprise_orch.due.due_at` reads it.

        :param timezone: of the stream, where it names none itself.
        """
        if self.within is not None:
            return {"within": self.within.total_seconds()}
        return {"time": self.time, "timezone": self.timezone or timezone, "days": self.days or 0}


class EmailTarget(Part):
    """By mail."""

    connection: Connection = Field(description="An Airflow connection of type smtp, which also says whom mail is from.")
    to: Annotated[
        tuple[Annotated[str, Field(pattern=ADDRESS, max_length=254)], ...],
        Field(strict=False, max_length=50, json_schema_extra={"minItems": 1}),
    ] = Field(description="Mail addresses.")

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.to:
            raise ValueError("'to' is empty; name a mail address")
        return self


class WebhookTarget(Part):
    """By an HTTP POST of JSON."""

    connection: Connection = Field(description="An Airflow connection of type http.")
    path: Annotated[str, Field(pattern=PATH_ON_HOST, max_length=500)] | None = Field(
        None, description="The path on that host, if the connection does not have it: /hooks/streams."
    )


class SlackTarget(Part):
    """In Slack."""

    connection: Connection = Field(
        description="An Airflow connection: of type slack with a channel, of type slackwebhook without."
    )
    channel: Line | None = Field(None, description="The channel, for a connection of type slack: #operations.")


class AlertTargets(Part):
    """Where an alert goes; several are possible."""

    email: EmailTarget | None = Field(None, description="By mail.")
    webhook: WebhookTarget | None = Field(None, description="By an HTTP POST of JSON, for incident desks and chats.")
    slack: SlackTarget | None = Field(None, description="In Slack.")

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.email is None and self.webhook is None and self.slack is None:
            raise ValueError("it does not say where to; write email:, webhook: or slack:")
        return self


class AlertRule(Part):
    """Who is told of what."""

    on: Annotated[tuple[AlertEvent, ...], Field(strict=False, json_schema_extra={"minItems": 1})] = Field(
        description="failed: a step failed for good. late: the stream or a step is not over when it is due. waiting: a "
        "person must answer. ambiguous: nobody can prove what became of a job, and a person must look. released: what "
        "had failed or was ambiguous goes on."
    )
    severity: Annotated[tuple[Criticality, ...], Field(strict=False, json_schema_extra={"minItems": 1})] | None = Field(
        None, description="The rule counts only for streams of these criticalities; without it for all."
    )
    send_as: Criticality | None = Field(
        None, description="The severity that the message carries; without it the stream's criticality."
    )
    after: Duration | None = Field(
        None, description="Of waiting: tell only what nobody answered for so long; without it at once."
    )
    to: AlertTargets = Field(description="Where the alert goes.")

    @model_validator(mode="after")
    def _waiting_alone(self) -> Self:
        for key in ("on", "severity"):
            if getattr(self, key) == ():
                raise ValueError(f"{key!r} is empty; name something, or remove it")
        if self.after is not None and "waiting" not in self.on:
            raise ValueError("'after' is for waiting alone; remove it, or add waiting to on")
        if len(set(self.on)) < len(self.on):
            raise ValueError("an event is in 'on' twice; remove one of them")
        return self

    def to_plan(self, criticality: str) -> dict[str, Any]:
        """Return it as the alerts read it: plain JSON."""
        to = self.to.model_dump(mode="json", exclude_none=True)
        return {
            "on": list(self.on),
            "severity": self.send_as or criticality,
            "after": self.after.total_seconds() if self.after is not None else 0.0,
            "to": [{"kind": kind, **target} for kind, target in sorted(to.items())],
        }
