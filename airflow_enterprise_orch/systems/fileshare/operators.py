"""The file-share operators, for people who write DAGs in Python; templates use the same steps by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_enterprise_orch.delegation.operator import DelegateOperator


class FileshareDeliverOperator(DelegateOperator):
    """Put one file on a share: whole, verified, never over another, exactly once per attempt.

    :param connection: an Airflow connection of type ``aws``, ``sftp``, ``ssh`` or ``samba``.
    :param to: where it shall lie, below the share's root.
    :param content: the text itself; or
    :param file: the absolute path of a file that the worker can read.
    :param link: how long a link lives that an output makes; ``24h`` by default.
    """

    def __init__(
        self,
        *,
        connection: str,
        to: str,
        content: str | None = None,
        file: str | None = None,
        link: str | None = None,
        **kwargs: Any,
    ) -> None:
        work = _given(to=to, content=content, file=file, link=link)
        super().__init__(step="fileshare.deliver", connection=connection, work=work, **kwargs)


class FileshareCertificateOperator(DelegateOperator):
    """Render a certificate of completion as PDF, with a verification code, and put it on a share.

    :param connection: as above; its extra holds ``certificate_secret``.
    :param to: where it shall lie, below the share's root.
    :param instance: the business key of what was completed.
    :param title: its heading.
    :param issuer: who certifies.
    :param recipient: for whom.
    :param text: what is certified.
    :param facts: name and value, shown as a table.
    :param link: how long a link lives that an output makes; ``24h`` by default.
    """

    def __init__(
        self,
        *,
        connection: str,
        to: str,
        instance: str,
        title: str | None = None,
        issuer: str | None = None,
        recipient: str | None = None,
        text: str | None = None,
        facts: Mapping[str, str] | None = None,
        link: str | None = None,
        **kwargs: Any,
    ) -> None:
        work = _given(
            to=to,
            instance=instance,
            title=title,
            issuer=issuer,
            recipient=recipient,
            text=text,
            facts=dict(facts) if facts else None,
            link=link,
        )
        super().__init__(step="fileshare.certificate", connection=connection, work=work, **kwargs)


class FileshareAwaitOperator(DelegateOperator):
    """Wait, without a worker slot, until files lie complete on a share.

    :param connection: as above.
    :param pattern: which files.
    :param folder: in which folder below the share's root; the root itself by default.
    :param count: how many at least.
    :param stable: for how long size and time must not change; ``10s`` by default.
    :param marker: instead: what the name of the marker beside each file adds to the file's own.
    """

    def __init__(
        self,
        *,
        connection: str,
        pattern: str,
        folder: str | None = None,
        count: int | None = None,
        stable: str | None = None,
        marker: str | None = None,
        **kwargs: Any,
    ) -> None:
        work = _given(pattern=pattern, folder=folder, count=count, stable=stable, marker=marker)
        super().__init__(step="fileshare.await", connection=connection, work=work, **kwargs)


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
