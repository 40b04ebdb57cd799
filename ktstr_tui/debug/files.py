"""The one file that the stub offers: the kernel's symbols, by gdb's remote file requests (``vFile``).

gdb asks for the name of the program (``qXfer:exec-file``) and reads it over the same connection, so that ``break
scx_exit`` works in a stock gdb with nothing but ``target remote``.
"""

from __future__ import annotations

import struct

from ktstr_tui.debug.requests import PACKET_BYTES

NAME = "/vmlinux"
"""What the file is called."""
_ENOENT, _EBADF, _EINVAL, _EROFS, _ENOSYS = 2, 9, 22, 30, 88
_FD = 1
_STAT = struct.Struct(">IIIIIIIQQQIII")
"""gdb's own layout of ``struct stat``: big-endian, 64 bytes."""
_REGULAR, _READABLE = 0o100000, 0o444


class OfferedFile:
    """Answers ``vFile`` requests.

    Args:
        content: The file; None when there is none.
    """

    def __init__(self, content: bytes | None) -> None:
        self.exists = content is not None
        """Whether there is one."""
        self._content = content
        self._open = False

    async def answer(self, request: str) -> bytes:
        """Answer a request, without its ``vFile:``."""
        operation, _, rest = request.partition(":")
        arguments = rest.split(",")
        try:
            match operation:
                case "setfs":
                    return b"F0"
                case "open":
                    return self._do_open(bytes.fromhex(arguments[0]), int(arguments[1], 16))
                case "pread":
                    return self._pread(*(int(it, 16) for it in arguments))
                case "fstat":
                    return self._fstat(int(arguments[0], 16))
                case "close":
                    self._open = False
                    return b"F0"
        except (ValueError, IndexError, TypeError):
            return _failed(_EINVAL)
        return b""

    def _do_open(self, name: bytes, flags: int) -> bytes:
        if flags & 3:
            return _failed(_EROFS)
        if name != NAME.encode() or not self.exists:
            return _failed(_ENOENT)
        self._open = True
        return b"F%x" % _FD

    def _pread(self, fd: int, count: int, offset: int) -> bytes:
        content = self._of(fd)
        if content is None:
            return _failed(_EBADF)
        # Escaping may double the bytes, and the answer has to fit a packet.
        part = content[offset : offset + min(count, PACKET_BYTES // 2 - 32)]
        return b"F%x;%s" % (len(part), part)

    def _fstat(self, fd: int) -> bytes:
        content = self._of(fd)
        if content is None:
            return _failed(_EBADF)
        size = len(content)
        mode = _REGULAR | _READABLE
        packed = _STAT.pack(0, 0, mode, 1, 0, 0, 0, size, 4096, -(-size // 512), 0, 0, 0)
        return b"F%x;%s" % (len(packed), packed)

    def _of(self, fd: int) -> bytes | None:
        return self._content if self._open and fd == _FD else None


def _failed(number: int) -> bytes:
    return b"F-1,%x" % number
