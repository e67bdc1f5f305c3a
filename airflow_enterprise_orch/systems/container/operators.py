"""The container operators, for people who write DAGs in Python; templates use the same steps by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_enterprise_orch.delegation.operator import DelegateOperator


class ContainerRunOperator(DelegateOperator):
    """Run a container to its end: exactly once per attempt, without holding a worker while it runs.

    :param connection: an Airflow connection of type ``container_engine``.
    :param image: what runs.
    :param command: the program and its arguments.
    :param env: environment variables.
    :param options: further fields of the step, such as ``{"memory_mb": 512, "pull": "always"}``.
    """

    def __init__(
        self,
        *,
        connection: str,
        image: str,
        command: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        work = _work(image, command, env, options)
        super().__init__(step="container.run", connection=connection, work=work, **kwargs)


class ContainerProvisionOperator(DelegateOperator):
    """Start a container and leave it running once its health check passes.

    :param connection: an Airflow connection of type ``container_engine``.
    :param image: what runs.
    :param command: the program and its arguments.
    :param env: environment variables.
    :param options: further fields of the step, such as ``{"publish": [{"container": 80}]}``.
    """

    def __init__(
        self,
        *,
        connection: str,
        image: str,
        command: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        work = _work(image, command, env, options)
        super().__init__(step="container.provision", connection=connection, work=work, **kwargs)


class ContainerRemoveOperator(DelegateOperator):
    """Stop and remove an instance that was provisioned.

    :param connection: an Airflow connection of type ``container_engine``.
    :param instance: the instance's id.
    """

    def __init__(self, *, connection: str, instance: str, **kwargs: Any) -> None:
        super().__init__(step="container.remove", connection=connection, work={"instance": instance}, **kwargs)


def _work(
    image: str, command: Sequence[str], env: Mapping[str, str] | None, options: Mapping[str, Any] | None
) -> dict[str, Any]:
    work: dict[str, Any] = {**(options or {}), "image": image}
    work |= {"command": list(command)} if command else {}
    work |= {"env": dict(env)} if env else {}
    return work
