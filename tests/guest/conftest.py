"""Guests for tests: a real kernel in QEMU with a small program as PID 1 that answers questions.

Nothing here is skipped: a machine without a kernel or without QEMU fails the tests and says what to do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from ktstr_tui.guest.accel import Verdict, decide_accelerator
from ktstr_tui.guest.boot import pass_boot
from ktstr_tui.guest.image import KernelImage
from ktstr_tui.guest.initramfs import pack_cpio
from ktstr_tui.guest.kernels import resolve_kernel
from ktstr_tui.guest.machine import Machine, MachineSpec, open_machine
from ktstr_tui.guest.seeded_boot import find_or_make
from ktstr_tui.model.errors import KtstrError
from ktstr_tui.model.topology import Topology
from tests.guest.compilers import compile_bpf, compile_c  # noqa: F401 (fixtures)
from tests.guest.kernel_run import running  # noqa: F401 (a fixture)
from tests.guest.waiting import BOOT_DEADLINE_S


class Guest:
    """A booted machine and its answering program."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._pending = b""

    async def ask(self, question: str) -> str:
        """Ask and return the answer."""
        await self.tell(question)
        return await self.answer()

    async def tell(self, command: str) -> None:
        """Send a command that has no answer."""
        await self.machine.bulk.send_all(command.encode() + b"\n")

    async def answer(self) -> str:
        """The next answer."""
        with trio.fail_after(BOOT_DEADLINE_S):
            while b"\n" not in self._pending:
                await self._more()
            length, _, self._pending = self._pending.partition(b"\n")
            while len(self._pending) < int(length):
                await self._more()
        text, self._pending = self._pending[: int(length)], self._pending[int(length) :]
        return text.decode("utf-8", "replace")

    async def _more(self) -> None:
        data = await self.machine.bulk.receive_some(65536)
        assert data, f"the guest went away; console: {self.machine.console.tail(10)}"
        self._pending += bytes(data)


BootGuest = Callable[..., AbstractAsyncContextManager[Guest]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows how the consoles of its guests ended."""
    report = yield
    directory = getattr(item, "funcargs", {}).get("tmp_path")
    if report.failed and directory is not None:
        for log in sorted(Path(directory).rglob("console.log")):
            tail = log.read_text("utf-8", "replace").splitlines()[-40:]
            report.sections.append((f"console {log.relative_to(directory)}", "\n".join(tail)))
    return report


@pytest.fixture(scope="session")
def kernel() -> KernelImage:
    """The kernel under test: ``KTSTR_TEST_KERNEL`` (a path or a cached release), else the current one."""
    try:
        return resolve_kernel(os.environ.get("KTSTR_TEST_KERNEL"))
    except KtstrError as error:
        pytest.fail(f"no kernel to test with: {error.message}; {error.hint}", pytrace=False)


@pytest.fixture(scope="session")
def probe_initrd(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An initramfs with the answering program."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler is not None, "no C compiler: apt install gcc libc6-dev"
    program = tmp_path_factory.mktemp("probe") / "init"
    source = Path(__file__).parent / "probe/init.c"
    subprocess.run([compiler, "-O1", "-static", "-Wall", "-Werror", "-o", program, source], check=True)
    return pack_cpio({"/init": (0o755, program.read_bytes())})


@pytest.fixture(scope="session")
def verdict(kernel: KernelImage, probe_initrd: bytes) -> Verdict:
    """The accelerator of this host, decided once; ``KTSTR_TEST_ACCEL`` overrules."""
    requested = os.environ.get("KTSTR_TEST_ACCEL", "auto")
    return trio.run(decide_accelerator, requested, kernel, probe_initrd)


@pytest.fixture
def machine_spec(kernel: KernelImage, probe_initrd: bytes, verdict: Verdict, tmp_path: Path) -> MachineSpec:
    """A small machine with the answering program."""
    sockets = tmp_path / "s"
    sockets.mkdir(mode=0o700)
    return MachineSpec(
        kernel=kernel.path_to_boot,
        initrd=probe_initrd,
        topology=Topology(),
        memory_bytes=512 << 20,
        accelerator=verdict.accelerator,
        socket_dir=sockets,
        console_log=tmp_path / "console.log",
    )


@pytest.fixture
def boot_guest(machine_spec: MachineSpec) -> BootGuest:
    """Opens a machine as a context and waits until its program answers; the common one starts from a saved boot, and so
    do those with a seed."""

    @asynccontextmanager
    async def boot(spec: MachineSpec) -> AsyncIterator[Guest]:
        is_common = spec == replace(machine_spec, initrd=spec.initrd) and spec.accelerator == "tcg"
        from_saved = replace(spec, run_files=b"") if is_common or spec.observed else spec
        origin = await find_or_make(from_saved) if spec.observed else None
        async with open_machine(from_saved, origin) as machine:
            await pass_boot(machine)
            if machine.stations is not None:
                machine.stations.begin()
            guest = Guest(machine)
            assert await guest.answer() == "ready"
            yield guest

    return boot
