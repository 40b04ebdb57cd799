"""Answers to the requests of gdb's protocol that leave the target as it is, or write to it while it is stopped.

Whatever is passed to QEMU is checked first to be exactly one well-formed request: a debugger cannot smuggle in another.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from ktstr_tui.capture.watch.debugger_points import CODES, Point
from ktstr_tui.debug.files import NAME, OfferedFile
from ktstr_tui.debug.requests import PACKET_BYTES
from ktstr_tui.debug.target import Target
from ktstr_tui.debug.vcont import parse_thread
from ktstr_tui.guest.retracing import REQUEST
from ktstr_tui.model.errors import UsageError

MAX_MEMORY_BYTES = 2032
"""Of one answer with memory: QEMU's packets are of 4096 bytes. A debugger that wants more asks for the rest."""
_POINT = re.compile(r"([Zz])([0-4]),([0-9a-fA-F]{1,16}),([0-9a-fA-F]{1,8})")
_READ = re.compile(r"m([0-9a-fA-F]{1,16}),([0-9a-fA-F]{1,8})|g|p([0-9a-fA-F]{1,4})")
_WRITE = re.compile(
    r"M[0-9a-fA-F]{1,16},[0-9a-fA-F]{1,8}:(?:[0-9a-fA-F]{2})+|G(?:[0-9a-fA-F]{2})+|P[0-9a-fA-F]{1,4}=(?:[0-9a-fA-F]{2})+"
)
_PART = re.compile(r"([^:]*):([0-9a-fA-F]{1,8}),([0-9a-fA-F]{1,8})")
_HELP = (
    "The guest is served by ktstr-tui, which watches it meanwhile: its own stops are not shown here.\n"
    "Breakpoints and watchpoints are set when the guest continues. watch, rwatch, awatch and hbreak take the\n"
    "slots that no watch of the run has. A run with a seed has no slots and is not changed by any of that; a step\n"
    "goes to the next block of code there, and registers cannot be written. Writing to memory needs a run with\n"
    "--allow-writes.\n"
    "A run with a seed also goes back: reverse-continue to the last breakpoint or write of what is watched,\n"
    "reverse-stepi to the block before. For that the run is repeated from its beginning, so each takes about as\n"
    "long as the run took to here, the first of its kind up to twice that; ctrl+c gives up. continue runs through\n"
    "the past to the present, and beyond.\n"
)


class Answers:
    """Answers requests; see `Session` for those that resume.

    Args:
        target: What is asked.
        offered: The file of symbols.
    """

    def __init__(self, target: Target, offered: OfferedFile) -> None:
        self.general = 0
        """The vCPU that requests are about, from 0."""
        self._target = target
        self._offered = offered
        self._queries: dict[str, Callable[[str], Awaitable[bytes]]] = {
            "qSupported": self._supported,
            "QStartNoAckMode": self._ok,
            "qAttached": self._attached,
            "qC": self._current,
            "qfThreadInfo": self._threads,
            "qsThreadInfo": self._no_more_threads,
            "qThreadExtraInfo": self._extra,
            "qXfer": self._transfer,
            "qHostInfo": self._host,
            "qProcessInfo": self._process,
            "qRcmd": self._monitor,
            "vFile": self._offered.answer,
            "vCont?": self._actions,
            "QKtstr": self._instruct,
        }

    async def answer(self, text: str) -> bytes:
        """Answer a request; with nothing when it is not known.

        Raises:
            KtstrError: It is refused, or makes no sense.
        """
        match text[:1]:
            case "g" | "p" | "m":
                return await self._read(text)
            case "G" | "P" | "M":
                return await self._write(text)
            case "Z" | "z":
                return self._point(text)
            case "H":
                self.general = parse_thread(text[2:], self._target.vcpus) or 0
                return b"OK"
            case "T":
                parse_thread(text[1:], self._target.vcpus)
                return b"OK"
        name = re.split("[:,;]", text, maxsplit=1)[0]
        query = self._queries.get(name)
        return b"" if query is None else await query(text[len(name) + 1 :])

    async def _read(self, text: str) -> bytes:
        form = _READ.fullmatch(text)
        if form is None:
            raise UsageError("not a request to read")
        if form[2] is not None:
            text = f"m{form[1]},{min(int(form[2], 16), MAX_MEMORY_BYTES):x}"
        return (await self._target.ask(self.general, text)).encode("latin-1")

    async def _write(self, text: str) -> bytes:
        if _WRITE.fullmatch(text) is None:
            raise UsageError("not a request to write")
        return (await self._target.write(self.general, text)).encode("latin-1")

    def _point(self, text: str) -> bytes:
        form = _POINT.match(text)
        if form is None:
            raise UsageError("not a breakpoint")
        point = Point(CODES[int(form[2])], int(form[3], 16), int(form[4], 16))
        if form[1] == "Z":
            self._target.want(point)
        else:
            self._target.drop(point)
        return b"OK"

    async def _supported(self, asked: str) -> bytes:
        offers = "QStartNoAckMode+;qXfer:features:read+;qXfer:exec-file:read+;vContSupported+"
        if self._target.goes_back:
            offers += ";ReverseContinue+;ReverseStep+"
        return f"PacketSize={PACKET_BYTES:x};{offers}".encode()

    async def _ok(self, asked: str) -> bytes:
        return b"OK"

    async def _attached(self, asked: str) -> bytes:
        return b"1"  # so that a debugger that quits detaches, and does not kill

    async def _current(self, asked: str) -> bytes:
        return b"QC%x" % (self.general + 1)

    async def _threads(self, asked: str) -> bytes:
        return ("m" + ",".join(f"{vcpu + 1:x}" for vcpu in range(self._target.vcpus))).encode()

    async def _no_more_threads(self, asked: str) -> bytes:
        return b"l"

    async def _extra(self, asked: str) -> bytes:
        vcpu = parse_thread(asked, self._target.vcpus) or 0
        return self._target.describe(vcpu).encode("utf-8", "replace").hex().encode()

    async def _host(self, asked: str) -> bytes:
        return f"triple:{b'x86_64-unknown-unknown'.hex()};endian:little;ptrsize:8;".encode()

    async def _process(self, asked: str) -> bytes:
        return f"pid:1;triple:{b'x86_64-unknown-unknown'.hex()};endian:little;ptrsize:8;".encode()

    async def _monitor(self, asked: str) -> bytes:
        return _HELP.encode().hex().encode()

    async def _actions(self, asked: str) -> bytes:
        return b"vCont;c;C;s;S"

    async def _instruct(self, asked: str) -> bytes:
        # Of a run with a seed that was had again for a debugger; any other stub does not know it.
        request = f"QKtstr:{asked}"
        if REQUEST.fullmatch(request) is None:
            raise UsageError("not a request")
        return (await self._target.ask(self.general, request)).encode("latin-1")

    async def _transfer(self, asked: str) -> bytes:
        kind, _, rest = asked.partition(":read:")
        form = _PART.fullmatch(rest)
        if form is None:
            return b""
        match kind:
            case "features":
                document = self._target.description.get(form[1])
            case "exec-file":
                # Only where there is one: gdb would complain about a name that leads nowhere.
                document = NAME if self._offered.exists else ""
            case _:
                return b""
        if document is None:
            return b"E00"
        start, count = int(form[2], 16), min(int(form[3], 16), PACKET_BYTES // 2 - 32)
        part = document.encode("latin-1", "replace")[start : start + count]
        return (b"l" if start + count >= len(document) else b"m") + part
