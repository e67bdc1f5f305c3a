"""WS-Management as a Windows host speaks it (MS-WSMV): envelopes, faults, and the two kinds of shell behind them.

A shell is either a command shell (WinRS), which knows a handful of commands, or a PowerShell session (MS-PSRP, by the
sans-IO library psrpcore), which hands each script that arrives to a callback.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree  # the lab parses what its own user sends on loopback
from xml.sax.saxutils import escape

import psrpcore
from psrpcore.types import ErrorCategoryInfo, NETException

logging.getLogger("psrpcore").setLevel(logging.WARNING)

ACTION = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
NAMES = {
    "s": "http://www.w3.org/2003/05/soap-envelope",
    "a": "http://schemas.xmlsoap.org/ws/2004/08/addressing",
    "w": "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd",
    "rsp": ACTION,
    "x": TRANSFER,
    "p": "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd",
    "ps": "http://schemas.microsoft.com/powershell",
}
TIMED_OUT = 2150858793
"""The fault of a Receive that had nothing to say within the client's OperationTimeout."""
NO_SHELL = 2150858843
NO_OPERATION = 2150858752

Script = Callable[[str, str, Mapping[str, Any]], Awaitable[list[str]]]
"""Runs one script: the shell's id, its text and parameters; returns what it writes."""


class Fault(Exception):
    """A WS-Man fault."""

    def __init__(self, code: int, reason: str, subcode: str = "w:InternalError") -> None:
        super().__init__(reason)
        self.code = code
        self.subcode = subcode


@dataclass(frozen=True, slots=True)
class Request:
    """One envelope, read.

    :param operation: the last word of the action: Create, Command, Send, Receive, Signal, Delete.
    """

    action: str
    message: str
    resource: str
    shell: str
    timeout: float
    body: ElementTree.Element

    @property
    def operation(self) -> str:
        """Return what is asked for, in one word."""
        return self.action.rpartition("/")[2]


def read(text: bytes) -> Request:
    """Read an envelope; :raises ValueError: when it is none."""
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - loopback, the lab's own user
    except ElementTree.ParseError as error:
        raise ValueError(f"no XML: {error}") from error

    def header(path: str) -> str:
        return (root.findtext(f"s:Header/{path}", "", NAMES) or "").strip()

    body = root.find("s:Body", NAMES)
    if body is None or not header("a:Action"):
        raise ValueError("no SOAP envelope with an action")
    seconds = re.fullmatch(r"PT([0-9.]+)S", header("w:OperationTimeout"))
    shell = root.find("s:Header/w:SelectorSet/w:Selector[@Name='ShellId']", NAMES)
    return Request(
        header("a:Action"),
        header("a:MessageID"),
        header("w:ResourceURI"),
        (shell.text or "").upper() if shell is not None else "",
        float(seconds[1]) if seconds else 60.0,
        body,
    )


def envelope(request: Request | None, action: str, body: str) -> bytes:
    """Return an answer."""
    names = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMES.items())
    relates = f"<a:RelatesTo>{escape(request.message)}</a:RelatesTo>" if request else ""
    head = (
        f"<a:Action>{action}</a:Action><a:MessageID>uuid:{str(uuid.uuid4()).upper()}</a:MessageID>"
        f"<a:To>{NAMES['a']}/role/anonymous</a:To>{relates}"
    )
    return (
        f'<s:Envelope xml:lang="en-US" {names}><s:Header>{head}</s:Header><s:Body>{body}</s:Body></s:Envelope>'.encode()
    )


def fault_envelope(request: Request | None, fault: Fault) -> bytes:
    """Return a fault."""
    reason = escape(str(fault))
    body = (
        f"<s:Fault><s:Code><s:Value>s:Receiver</s:Value><s:Subcode><s:Value>{fault.subcode}</s:Value></s:Subcode>"
        f'</s:Code><s:Reason><s:Text xml:lang="en-US">{reason}</s:Text></s:Reason><s:Detail>'
        f'<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="{fault.code}" '
        f'Machine="LABWIN"><f:Message>{reason}</f:Message></f:WSManFault></s:Detail></s:Fault>'
    )
    return envelope(request, "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault", body)


@dataclass
class Stream:
    """What a shell or a command has to say and nobody has fetched yet."""

    data: dict[str, bytearray] = field(default_factory=dict)
    done: bool = False
    code: int | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def say(self, name: str, data: bytes) -> None:
        """Add to one of its streams."""
        self.data.setdefault(name, bytearray()).extend(data)
        self.news.set()

    def end(self, code: int | None = None) -> None:
        """There comes no more."""
        self.done, self.code = True, code
        self.news.set()

    async def fetch(self, command: str, timeout: float) -> str:
        """Return the body of a ReceiveResponse; :raises Fault: when there is nothing within ``timeout``."""
        try:
            async with asyncio.timeout(timeout):
                await self.news.wait()
        except TimeoutError:
            raise Fault(
                TIMED_OUT,
                "The WS-Management service cannot complete the operation within the time specified.",
                "w:TimedOut",
            ) from None
        named = f' CommandId="{command}"' if command else ""
        parts = []
        for name, data in self.data.items():
            if data:
                text = base64.b64encode(data).decode()
                parts.append(f'<rsp:Stream Name="{name}"{named}>{text}</rsp:Stream>')
        self.data.clear()
        state = "Done" if self.done else "Running"
        code = f"<rsp:ExitCode>{self.code}</rsp:ExitCode>" if self.done and self.code is not None else ""
        if command:
            parts.append(f'<rsp:CommandState{named} State="{ACTION}/CommandState/{state}">{code}</rsp:CommandState>')
        if not self.done:
            self.news.clear()
        return f"<rsp:ReceiveResponse>{''.join(parts)}</rsp:ReceiveResponse>"


class CommandShell:
    """WinRS: cmd.exe as far as a few commands go."""

    resource = f"{ACTION}/cmd"

    def __init__(self, user: str) -> None:
        self.id = str(uuid.uuid4()).upper()
        self.user = user
        self.streams: dict[str, Stream] = {}

    async def command(self, request: Request) -> str:
        """Run a command line."""
        line = request.body.find("rsp:CommandLine", NAMES)
        words = [] if line is None else [element.text or "" for element in line]
        identifier = str(uuid.uuid4()).upper()
        stream = self.streams[identifier] = Stream()
        out, err, code = self._run(" ".join(words).strip().strip('"'))
        stream.say("stdout", out.encode())
        if err:
            stream.say("stderr", err.encode())
        stream.end(code)
        return identifier

    def _run(self, line: str) -> tuple[str, str, int]:
        word, _, rest = line.partition(" ")
        known = {
            "cd": "C:\\Users\\svc-orch\r\n",
            "hostname": "LABWIN\r\n",
            "whoami": self.user.lower() + "\r\n",
            "ver": "\r\nMicrosoft Windows [Version 10.0.20348.2849]\r\n",
            "echo": rest + "\r\n",
        }
        if word == "exit":
            return "", "", int(rest.removeprefix("/b").strip() or 0)
        if word in known:
            return known[word], "", 0
        return (
            "",
            f"'{word}' is not recognized as an internal or external command,\r\noperable program or batch file.\r\n",
            1,
        )

    async def send(self, request: Request) -> None:
        """Take input; none of the commands reads any."""


class PowerShellShell:
    """One PSRP runspace pool.

    :param run: runs a script that arrived whole.
    """

    def __init__(self, request: Request, run: Script) -> None:
        shell = request.body.find("rsp:Shell", NAMES)
        if shell is None:
            raise ValueError("a Create without a Shell")
        self.id = shell.get("ShellId", str(uuid.uuid4())).upper()
        self.resource = request.resource
        self.streams: dict[str, Stream] = {"": Stream()}
        self._run = run
        self._pool = psrpcore.ServerRunspacePool()
        self._pipelines: dict[str, psrpcore.ServerPipeline] = {}
        self._running: set[asyncio.Task[None]] = set()
        created = shell.findtext("ps:creationXml", "", NAMES)
        self._arrived(base64.b64decode(created), None)

    async def command(self, request: Request) -> str:
        """Make a pipeline; its first fragment comes with it."""
        line = request.body.find("rsp:CommandLine", NAMES)
        if line is None:
            raise ValueError("a Command without a CommandLine")
        identifier = line.get("CommandId", "").upper()
        self.streams[identifier] = Stream()
        self._pipelines[identifier] = psrpcore.ServerPipeline(self._pool, uuid.UUID(identifier))
        await self._take(line.findtext("rsp:Arguments", "", NAMES), identifier)
        return identifier

    async def send(self, request: Request) -> None:
        """Take further fragments."""
        for stream in request.body.findall("rsp:Send/rsp:Stream", NAMES):
            await self._take(stream.text or "", stream.get("CommandId", "").upper())

    async def _take(self, text: str, command: str) -> None:
        for event in self._arrived(base64.b64decode(text), command or None):
            if isinstance(event, psrpcore.CreatePipelineEvent):
                await self._script(command)

    def _arrived(self, data: bytes, command: str | None) -> list[Any]:
        pipeline = uuid.UUID(command) if command else None
        self._pool.receive_data(psrpcore.PSRPPayload(data, psrpcore.StreamType.default, pipeline))
        events = []
        while (event := self._pool.next_event()) is not None:
            events.append(event)
        self._flush()
        return events

    async def _script(self, command: str) -> None:
        pipeline = self._pipelines[command]
        pipeline.start()
        commands = getattr(pipeline.metadata, "commands", [])
        try:
            if len(commands) != 1:
                raise LookupError("the lab runs one script at a time")
            first = commands[0]
            values = {str(name): plain(value) for name, value in first.parameters}
            lines = await self._run(self.id, first.command_text, values)
        except psrpcore.PSRPCoreError:
            raise
        except LookupError as error:
            pipeline.write_error(NETException(str(error)), ErrorCategoryInfo())
            lines = []
        for line in lines:
            pipeline.write_output(line)
        pipeline.complete()
        self._flush()
        self.streams[command].end()

    def _flush(self) -> None:
        while (payload := self._pool.data_to_send()) is not None:
            command = str(payload.pipeline_id).upper() if payload.pipeline_id else ""
            stream = self.streams.get(command)
            if stream is not None:
                stream.say("stdout", bytes(payload.data))


Shell = CommandShell | PowerShellShell


def created(shell: Shell) -> str:
    """Return the body of a CreateResponse."""
    selector = f'<w:SelectorSet><w:Selector Name="ShellId">{shell.id}</w:Selector></w:SelectorSet>'
    return (
        f"<x:ResourceCreated><a:Address>{NAMES['a']}/role/anonymous</a:Address><a:ReferenceParameters>"
        f"<w:ResourceURI>{escape(shell.resource)}</w:ResourceURI>{selector}</a:ReferenceParameters></x:ResourceCreated>"
        f"<rsp:Shell><rsp:ShellId>{shell.id}</rsp:ShellId><rsp:ResourceUri>{escape(shell.resource)}</rsp:ResourceUri>"
        f"<rsp:Owner>LABWIN\\svc-orch</rsp:Owner><rsp:ClientIP>127.0.0.1</rsp:ClientIP></rsp:Shell>"
    )


def plain(value: Any) -> Any:
    """Return a parameter as plain Python."""
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, bool):
        return bool(value)
    if isinstance(value, int):
        return int(value)
    return None if value is None else str(value)
