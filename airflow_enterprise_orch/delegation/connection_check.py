"""What Airflow's connection page shows after *Test*: the same words for every system."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from airflow_enterprise_orch.errors import (
    ConnectionInvalid,
    ConnectionUntrusted,
    LoginRefused,
    OrchestrationError,
    RemoteError,
)


class RefusedLogin(str):
    """What is said of a refused login, with the refusal itself: it blocks the connection like that of a step.

    :ivar refused: the refusal.
    """

    __slots__ = ("refused",)
    refused: LoginRefused


def in_words(error: OrchestrationError, text: str = "") -> str:
    """Return what is said of an error."""
    if not isinstance(error, LoginRefused):
        return text or str(error)
    told = RefusedLogin(text or str(error))
    told.refused = error
    return told


def tested(check: Coroutine[Any, Any, str], good: str, *, untrusted: str = "Certificate") -> tuple[bool, str]:
    """Run a check; return whether the connection works, and what is wrong in words.

    :param check: reaches the system, logs in, and tells the system's version.
    :param good: what is said when it works; ``{}`` stands for what the check told.
    :param untrusted: what of the other side is not trusted, where that is the trouble.
    """
    try:
        told = asyncio.run(check)
    except ConnectionUntrusted as error:
        return False, f"{untrusted}: {error}"
    except LoginRefused as error:
        return False, in_words(error, f"Login refused: {error}")
    except ConnectionInvalid as error:
        return False, f"Connection: {error}"
    except RemoteError as error:
        return False, f"Not usable: {error}"
    except OrchestrationError as error:
        return False, str(error)
    return True, good.format(told).replace("  ", " ")
