"""Making sure that an image is on the engine, before anything is handed over."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from airflow_enterprise_orch.errors import LoginRefused, RemoteError, RequestRejected, SystemUnreachable
from airflow_enterprise_orch.systems.container.session import Call, EngineAbsent, EngineSession

DOCKER_HUB = "docker.io"


def registry_of(image: str) -> str:
    """Return the registry that an image's name leads to (distribution/reference, ``splitDockerDomain``)."""
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else DOCKER_HUB


def name_and_tag(image: str) -> tuple[str, str]:
    """Return what ``ImageCreate`` wants as ``fromImage`` and ``tag``; a digest is the tag, and is what counts."""
    name, at, digest = image.partition("@")
    slash, colon = name.rfind("/"), name.rfind(":")
    bare, tag = (name[:colon], name[colon + 1 :]) if colon > slash else (name, "")
    # Without a tag the engine would pull every tag that the repository has.
    return (bare, digest) if at else (bare, tag or "latest")


class Images:
    """The images of one engine."""

    def __init__(self, session: EngineSession) -> None:
        self._session = session

    async def ensure(self, image: str, pull: str) -> Mapping[str, Any]:
        """Return the image's document, pulling it first where ``pull`` says so.

        :param pull: ``missing``, ``always`` or ``never``.
        :raises RequestRejected: there is no such image, or it may not be pulled.
        :raises SystemUnreachable: it could not be pulled now.
        """
        if pull != "always":
            found = await self._find(image)
            if found is not None:
                return found
            if pull == "never":
                raise RequestRejected(
                    f"{self._session.settings.address} has no image {image}, and the step says pull: never"
                )
        await self._pull(image)
        found = await self._find(image)
        if found is None:
            raise SystemUnreachable(f"{self._session.settings.address} pulled {image}, and does not have it")
        return found

    async def _find(self, image: str) -> Mapping[str, Any] | None:
        try:
            # The slashes of a name are part of the path here (ImageInspect); the pattern of the step allows no other.
            answer = await self._session.call(Call(f"look at image {image}", "GET", f"/images/{image}/json"))
        except EngineAbsent:
            return None
        return answer.document if isinstance(answer.document, Mapping) else {}

    async def _pull(self, image: str) -> None:
        settings = self._session.settings
        name, tag = name_and_tag(image)
        call = Call(
            f"pull of {image}",
            "POST",
            "/images/create",
            params={"fromImage": name, "tag": tag},
            headers=self._login(image),
            patience=settings.pull_timeout,
        )
        last: Mapping[str, Any] = {}
        try:
            async with self._session.stream(call) as pieces:
                rest = b""
                async for piece in pieces:
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        last = self._progress(image, line) or last
                last = self._progress(image, rest) or last
        except RemoteError as error:  # the engine passes a registry's refusal on as 404 or 500, by version
            self._login_refused(image, str(error))
            raise

    def _progress(self, image: str, line: bytes) -> Mapping[str, Any]:
        """Read one line of progress; the answer is 200 before the engine knows whether it succeeds."""
        if not line.strip():
            return {}
        try:
            told = json.loads(line)
        except ValueError:
            told = None
        if not isinstance(told, Mapping):
            raise SystemUnreachable(f"{self._session.settings.address} answered the pull of {image} with nonsense")
        failed = " ".join(str(told.get("error") or "").split())
        if not failed:
            return told
        self._login_refused(image, failed)
        message = f"{self._session.settings.address} could not pull {image}: {failed}"
        if any(word in failed.lower() for word in ("denied", "not found", "unknown", "unauthorized", "no matching")):
            raise RequestRejected(message)
        raise SystemUnreachable(message)

    def _login(self, image: str) -> dict[str, str]:
        """Return the registry's login, for images of that registry only (Docker Engine API, "Authentication")."""
        settings = self._session.settings
        if not settings.registry_user or registry_of(image) != settings.registry:
            return {}
        login = {
            "username": settings.registry_user,
            "password": settings.registry_password,
            "serveraddress": settings.registry,
        }
        return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(login).encode()).decode()}

    def _login_refused(self, image: str, failed: str) -> None:
        settings = self._session.settings
        if self._login(image) and any(
            word in failed.lower() for word in ("incorrect username or password", "unauthorized", "authentication")
        ):
            raise LoginRefused(
                settings.connection,
                f"the registry {settings.registry} refused the login of {settings.registry_user} for {image}",
                "correct registry_user and registry_password in it",
            )
