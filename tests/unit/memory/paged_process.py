"""A process whose memory is paged: it does what it is told, line by line, and answers in JSON.

Arguments: the descriptor of the pager's socket, that of a RAM file (-1 for memory of its own), bytes, offset in the
image.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import mmap
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from ktstr_tui._native import ffi, lib
from ktstr_tui.memory import pager_messages as pm
from ktstr_tui.memory.pages import PAGE_BYTES
from ktstr_tui.memory.uffd import open_uffd

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = _LIBC.mremap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_LIBC.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
_FIXED, _MAY_MOVE = 0x10, 1


class Memory:
    """The memory and what can be done to it."""

    def __init__(self, link: socket.socket, ram_fd: int, size: int, offset: int) -> None:
        flags = mmap.MAP_SHARED if ram_fd >= 0 else mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._map = mmap.mmap(ram_fd, size, flags)
        self._link = link
        self._ram_fd = ram_fd
        self._size = size
        self._offset = offset
        self._at = int(ffi.cast("uintptr_t", ffi.from_buffer(self._map)))
        self._uffd = open_uffd()

    def register(
        self,
        watched: int | None = None,
        size: int | None = None,
        page_bytes: int = PAGE_BYTES,
        shift: int = 0,
    ) -> str | None:
        """Register the memory and say that it is ``size`` bytes; return why the pager refuses that."""
        assert lib.ktp_watch(self._uffd, self._at, self._size) == 0, os.strerror(ffi.errno)
        request = pm.encode_request(
            lib.KTP_REGISTER, 1, self._at + shift, size or self._size, self._offset, page_bytes
        )
        socket.send_fds(self._link, [request], [self._uffd])
        reply = pm.decode_message(self._link.recv(pm.MESSAGE_BYTES))
        assert isinstance(reply, pm.Reply)
        return reply.refused

    def touch(self, threads: int, count: int, same: bool = False, first: int = 0) -> int:
        """Touch ``count`` pages in each of several threads at once; return the sum of their first bytes."""
        sums = [0] * threads
        barrier = threading.Barrier(threads)

        def work(number: int) -> None:
            begin = first + (0 if same else number * count)
            pages = ffi.new("uint32_t[]", list(range(begin, begin + count)))
            barrier.wait()
            sums[number] = lib.ktp_touch(ffi.cast("void *", self._at), pages, count, ffi.NULL)

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sum(sums)

    def start_touch(self, count: int) -> None:
        """Touch pages in a thread that nobody waits for."""
        threading.Thread(target=self.touch, args=(1, count), daemon=True).start()

    def page(self, number: int) -> str:
        """The digest of a page."""
        at = self._at + number * PAGE_BYTES
        return hashlib.blake2b(ffi.buffer(ffi.cast("char *", at), PAGE_BYTES)[:], digest_size=16).hexdigest()

    def remove(self, first: int, count: int) -> None:
        """Give pages back."""
        advice = mmap.MADV_REMOVE if self._ram_fd >= 0 else mmap.MADV_DONTNEED
        self._map.madvise(advice, first * PAGE_BYTES, count * PAGE_BYTES)

    def replace(self, first: int, count: int) -> None:
        """Map something else there, so that the pages are not registered any more."""
        flags = _FIXED | (mmap.MAP_SHARED if self._ram_fd >= 0 else mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        at = self._at + first * PAGE_BYTES
        got = _LIBC.mmap(
            at, count * PAGE_BYTES, 3, flags, self._ram_fd, first * PAGE_BYTES if self._ram_fd >= 0 else 0
        )
        assert got == at

    def unmap(self, first: int, count: int) -> None:
        """Take pages out of the memory."""
        _LIBC.munmap(ctypes.c_void_p(self._at + first * PAGE_BYTES), ctypes.c_size_t(count * PAGE_BYTES))

    def move(self) -> None:
        """Move the memory to another address."""
        # A place of that size that is free: one that was given back.
        place = _LIBC.mmap(None, self._size * 2, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        _LIBC.munmap(ctypes.c_void_p(place), ctypes.c_size_t(self._size * 2))
        got = _LIBC.mremap(
            ctypes.c_void_p(self._at), self._size, self._size, ctypes.c_int(3), ctypes.c_void_p(place)
        )
        assert got == place
        self._at = place

    def address(self, number: int) -> int:
        """Where a page is."""
        return self._at + number * PAGE_BYTES


def main() -> None:
    """Do what the lines of standard input say."""
    handoff, ram_fd, size, offset = map(int, sys.argv[1:])
    memory = Memory(socket.socket(fileno=handoff), ram_fd, size, offset)
    for line in sys.stdin:
        verb, arguments = json.loads(line)
        done: Callable[..., Any] = getattr(memory, verb)
        print(json.dumps(done(**arguments)), flush=True)


if __name__ == "__main__":
    main()
