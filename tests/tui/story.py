"""A made-up run: the tour's events, from boot over ``fifo`` to the ejection of ``stall``, the same at every call."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from ktstr_tui.model import events as ev
from ktstr_tui.model import report as rp
from ktstr_tui.model.facts import FrameCounters, RunInfo
from ktstr_tui.model.sample import CpuSample, DsqSample, RunnableTask, Sample, SchedulerSample
from ktstr_tui.model.topology import Topology
from tests.tui.story_parts import DMESG, EXIT_STACK, IDLE_STACK, PREEMPTED_STACK, REGISTERS, maps, wave

START_NS = 5_000_000_000_000
BOOT_S = 2.4
FIFO_S = 12.0
STALL_S = 22.0
STOPS_S = 26.0  # from here on the scheduler dispatches nothing
EJECTED_S = 30.1
END_S = 34.0
TIMEOUT_MS = 4000.0
KERNEL = "7.2.12+deb14-amd64"
STEPS = ("baseline", "fifo", "stall")


class Story:
    """The events of the tour.

    Args:
        topology: How many CPUs, and how they are grouped.
        comm: Name of the workers; hostile ones test the display.
    """

    def __init__(self, topology: str = "1n1l2c1t", comm: str = "spin") -> None:
        self.topology = Topology.parse(topology)
        self.comm = comm
        self._seq = 0

    def until(self, t_s: float) -> list[ev.Event]:
        """All events up to ``t_s`` seconds, numbered from 1."""
        found = sorted((it for it in self._all() if it[0] <= t_s), key=lambda it: it[0])
        return [
            replace(event, seq=number, mono_ns=START_NS + int(at * 1e9))
            for number, (at, event) in enumerate(found, 1)
        ]

    def _all(self) -> Iterator[tuple[float, ev.Event]]:
        yield from self._beginning()
        yield from self._samples()
        yield from self._steps()
        yield from self._ejection()
        yield from self._background()

    def _beginning(self) -> Iterator[tuple[float, ev.Event]]:
        yield 0.0, ev.RunStarted(info=self.info())
        yield 0.4, ev.OutputText(stream="dmesg", text="[    0.000000] Linux version 7.2.12+deb14-amd64\n")
        yield 1.9, ev.OutputText(stream="dmesg", text="[    1.412201] Run /init as init process\n")
        yield BOOT_S, ev.GuestReady(boot_ms=BOOT_S * 1000)
        typed = ev.KernelTyped(
            release=KERNEL, hz=250, cpus=self.topology.cpus, btf_types=124638, typed_ms=462.0
        )
        slot = ev.WatchpointChanged(slot=0, expression="scx_root", address=0xFFFFFFFF840A1F98, state="armed")
        yield from ((3.1, typed), (3.1, slot))

    def info(self) -> RunInfo:
        """The run's fixed facts."""
        return RunInfo(
            name="tour",
            run_id="5f1c9a",
            kernel=KERNEL,
            kernel_path="~/.cache/ktstr-tui/kernels/7.2.12+deb14-amd64/vmlinuz",
            accelerator="tcg",
            accelerator_reason="TCG (KVM failed: MSR 0x10a; see `ktstr-tui doctor`)",
            topology=str(self.topology),
            memory_bytes=512 << 20,
            scenario="tour",
            scheduler="demo",
            steps=STEPS,
            steps_ms=(8000, 9000, 15000),
            started_wall="2026-11-20T10:15:00+00:00",
            host="workbench",
            data_dir="~/.local/state/ktstr-tui/runs/tour",
        )

    def _samples(self) -> Iterator[tuple[float, ev.Event]]:
        used_ns = [2_000_000_000] * self.topology.cpus
        for tick in range(33, int(END_S * 10)):
            t_s = tick / 10
            cpus = tuple(self._cpu(number, t_s, used_ns[number]) for number in range(self.topology.cpus))
            for number, cpu in enumerate(cpus):
                share = 0.06 if cpu.idle else 0.55 + 0.45 * wave(number, t_s, 6.0)
                used_ns[number] += int(1e8 * share)
            newest = max(cpu.rq_clock_ns or 0 for cpu in cpus)
            sample = Sample(
                cpus=cpus,
                scheduler=self._scheduler(t_s),
                guest_ns=newest,
                jiffies=4294892296 + int(t_s * 250),
                read_us=412.0 + 3 * self.topology.cpus,
            )
            yield t_s, ev.Sampled(sample=sample, guest_ns=newest)

    def _stuck(self, t_s: float) -> bool:
        return STOPS_S <= t_s < EJECTED_S

    def _cpu(self, number: int, t_s: float, cpu_time_ns: int) -> CpuSample:
        ext = FIFO_S <= t_s < EJECTED_S
        clock_ns = int(t_s * 1e9) - 1_800_000 * (number % 5)
        common = CpuSample(cpu=number, rq_clock_ns=clock_ns, vcpu_cpu_time_ns=cpu_time_ns)
        if self._stuck(t_s) or (not ext and wave(number, t_s, 3.0) < 0.18):
            waiting = 3 if self._stuck(t_s) else 0
            return replace(
                common, curr_pid=0, curr_comm=f"swapper/{number}", curr_class="idle", idle=True, nr_running=waiting,
                scx_nr_running=waiting, scx_flags=0x1, local_dsq_nr=0,
            )  # fmt: skip
        count = 1 + round(3 * wave(number, t_s, 5.0))
        if int(t_s * 10) % 97 == 41 and number == 1:
            return CpuSample(cpu=number, unreadable="torn: rq->curr changed during each of 3 reads")
        return replace(
            common, curr_pid=200 + number, curr_comm=f"{self.comm}-{number}", curr_class="ext" if ext else "fair",
            idle=False, nr_running=count, scx_nr_running=count if ext else 0, scx_flags=0x11 if ext else 0x1,
            local_dsq_nr=max(0, count - 3) if ext else 0,
        )  # fmt: skip

    def _scheduler(self, t_s: float) -> SchedulerSample:
        if t_s < FIFO_S:
            return SchedulerSample(state="disabled", enable_seq=0, exit_kind=None)
        if t_s >= EJECTED_S:
            return SchedulerSample(state="disabled", enable_seq=2)
        stall = t_s >= STALL_S
        age_ms = max(0.0, (t_s - STOPS_S) * 1000) if stall else 0.0
        busy_ms = 4.0 * round(6 * wave(1, t_s, 2.0))
        waiting = 3 * self.topology.cpus if age_ms else self.topology.cpus + round(2 * wave(0, t_s, 4.0))
        oldest = RunnableTask(pid=201, comm=f"{self.comm}-1", age_ms=age_ms or busy_ms, cpu=1, dsq="0x7")
        return SchedulerSample(
            name="stall" if stall else "fifo",
            state="enabled",
            exit_kind=0,
            enable_seq=2 if stall else 1,
            aborting=False,
            bypass_depth=0,
            watchdog_timeout_ms=TIMEOUT_MS,
            oldest_runnable=oldest,
            nr_runnable=waiting,
            dsqs=(
                DsqSample(id=7, label="0x7", nr=waiting),
                DsqSample(id=1 << 63, label="global node 0", nr=0),
            ),
            event_counters=self._counters(t_s),
        )

    def _counters(self, t_s: float) -> dict[str, int]:
        since = t_s - FIFO_S
        return {
            "SELECT_CPU_FALLBACK": 0,
            "DISPATCH_LOCAL_DSQ_OFFLINE": 0,
            "DISPATCH_KEEP_LAST": int(since * 41),
            "ENQ_SKIP_EXITING": int(since * 2),
            "ENQ_SKIP_MIGRATION_DISABLED": int(since * 5),
            "REFILL_SLICE_DFL": int(since * 230),
            "BYPASS_DURATION": 0,
            "BYPASS_DISPATCH": 0,
            "BYPASS_ACTIVATE": 2,
        }

    def _steps(self) -> Iterator[tuple[float, ev.Event]]:
        yield 3.2, ev.ScenarioChanged(state="started")
        names = zip(
            STEPS, (3.2, FIFO_S - 0.3, STALL_S - 0.3), ("none", "demo:fifo", "demo:stall"), strict=True
        )
        for index, (name, at, scheduler) in enumerate(names):
            yield (
                at,
                ev.StepStarted(
                    index=index,
                    name=name,
                    scheduler=scheduler,
                    worker_count=4,
                    elapsed_ms=int(at * 1e3) - 3200,
                ),
            )
        yield 3.4, ev.HealthChanged(verdict="ok")
        yield FIFO_S, ev.SchedulerChanged(change="attached", name="fifo")
        yield (
            FIFO_S,
            ev.WatchpointChanged(
                slot=0,
                expression="scx_root->exit_kind",
                address=0xFF17965902B55350,
                state="armed",
                detail="fifo",
            ),
        )
        yield STALL_S - 0.4, ev.SchedulerChanged(change="detached", name="fifo", exit_kind=64)
        yield STALL_S, ev.SchedulerChanged(change="attached", name="stall")
        yield (
            STALL_S,
            ev.WatchpointChanged(
                slot=0,
                expression="scx_root->exit_kind",
                address=0xFF17965902B55B50,
                state="armed",
                detail="stall",
            ),
        )

    def _ejection(self) -> Iterator[tuple[float, ev.Event]]:
        who = f"{self.comm}-1[201]"
        for tick in range(int((STOPS_S + 2) * 10), int(EJECTED_S * 10)):
            age_s = tick / 10 - STOPS_S
            text = f"{who} runnable for {age_s:.1f} s of 4.0 s watchdog timeout, in DSQ 0x7"
            severity: ev.Severity = "error" if age_s > 3.6 else "warning"
            yield (
                tick / 10,
                ev.AlertRaised(
                    key="runnable-age", kind="runnable-age", severity=severity, text=text, cpu=1, pid=201
                ),
            )
        yield (
            STOPS_S + 2.0,
            ev.HealthChanged(
                verdict="degraded",
                reasons=(f"{who} runnable for 2.0 s of 4.0 s watchdog timeout, in DSQ 0x7",),
            ),
        )
        yield (
            STOPS_S + 3.6,
            ev.HealthChanged(
                verdict="stalled",
                reasons=(f"{who} runnable for 3.6 s of 4.0 s watchdog timeout, in DSQ 0x7",),
            ),
        )
        yield (
            EJECTED_S,
            ev.WatchpointHit(
                slot=0, expression="scx_root->exit_kind", vcpu=0, value=1026, old=0, capture="error-001"
            ),
        )
        path = "~/.local/state/ktstr-tui/runs/tour/error-001.json"
        yield EJECTED_S, ev.CaptureTaken(report=self.report(), path=path)
        message = f"{who} failed to run for 4.100s"
        change = ev.SchedulerChanged(change="ejected", name="stall", exit_kind=1026, detail=message)
        yield EJECTED_S + 0.05, change
        yield EJECTED_S + 0.05, ev.AlertCleared(key="runnable-age", kind="runnable-age")
        yield (
            EJECTED_S + 0.06,
            ev.AlertRaised(
                key="ejected",
                kind="ejected",
                severity="error",
                capture="error-001",
                pid=201,
                text=f"stall ejected: ERROR_STALL, {message}",
            ),
        )
        yield (
            EJECTED_S + 0.3,
            ev.OutputText(stream="sched_log", text="stall: runnable task stall, disabled\n"),
        )
        yield EJECTED_S + 1.0, ev.HealthChanged(verdict="ok")

    def _background(self) -> Iterator[tuple[float, ev.Event]]:
        for second in range(1, int(END_S)):
            by_type = {
                "Stdout": second,
                "WorkerReport": second * 4,
                "Stimulus": 3,
                "SysRdy": 1,
                "Lifecycle": 2,
            }
            counters = FrameCounters(received=sum(by_type.values()), bytes=second * 1877, by_type=by_type)
            yield second + 0.01, ev.FramesCounted(counters=counters)
            yield second + 0.02, ev.BackendBeat(samples=max(0, second - 3) * 10, viewers=1)
        for number, at in enumerate((4.0, 7.5, 11.2, 14.0, 19.0, 24.0)):
            yield (
                at,
                ev.OutputText(stream="stdout", text=f"worker {number}: {1000 * int(at * 37)} iterations\n"),
            )
        yield (
            31.0,
            ev.OutputText(stream="stderr", text="scenario: scheduler stall exited; continuing without it\n"),
        )

    def report(self, tag: str = "error-001") -> rp.CaptureReport:
        """The report of the ejection."""
        return rp.CaptureReport(
            tag=tag,
            trigger="error",
            trigger_detail="exit_kind became 1026",
            mono_ns=START_NS + int(EJECTED_S * 1e9),
            guest_ns=int(EJECTED_S * 1e9),
            wall_time="2026-11-20T10:15:30+00:00",
            kernel=KERNEL,
            step="stall",
            exit_kind=1026,
            pause=rp.Pause(total_us=8420.0, registers_us=310.0, memory_us=7650.0, resume_us=460.0),
            scheduler=self._scheduler_report(),
            stalled=RunnableTask(pid=201, comm=f"{self.comm}-1", age_ms=4100.0, cpu=1, dsq="0x7"),
            vcpus=tuple(self._vcpu(number) for number in range(min(self.topology.cpus, 8))),
            runqueues=tuple(self._runqueue(number) for number in range(self.topology.cpus)),
            tasks=tuple(self._task(number) for number in range(self._tasks)),
            dsqs=(
                rp.DsqReport(id=7, label="0x7", origin="user", nr=self._tasks, seq=40213, pids=self._pids()),
                rp.DsqReport(id=1 << 63, label="global node 0", origin="global node 0", nr=0, seq=0),
            ),
            maps=maps(),
            dmesg_tail=DMESG,
            truncated={"maps": "stats: 4096 of 10240 entries"},
            read_late={
                "scheduler.exit_info": "the kernel writes the reason and the message after the write that stopped it",
                "dmesg_tail": "read after the thaw",
            },
        )

    @property
    def _tasks(self) -> int:
        return 3 * self.topology.cpus

    def _pids(self) -> tuple[int, ...]:
        return tuple(self._task(number).pid for number in range(self._tasks))

    def _running(self) -> tuple[rp.RunningTask, ...]:
        return tuple(
            rp.RunningTask(cpu=number, pid=0, comm=f"swapper/{number}", sched_class="idle")
            for number in (0, 1)
        )

    def _scheduler_report(self) -> rp.SchedulerReport:
        return rp.SchedulerReport(
            name="stall",
            state="enabled",
            exit_kind=1026,
            exit_kind_name="ERROR_STALL",
            exit_code=0,
            reason="runnable task stall",
            message=f"{self.comm}-1[201] failed to run for 4.100s",
            ops_flags=0x12,
            aborting=True,
            bypass_depth=0,
            watchdog_timeout_ms=TIMEOUT_MS,
            enable_seq=2,
            event_counters=self._counters(EJECTED_S),
        )

    def _vcpu(self, number: int) -> rp.VcpuReport:
        registers = {
            name: (0x9E3779B97F4A7C15 * (index + 3 + number)) % 2**64 for index, name in enumerate(REGISTERS)
        }
        registers |= {"rip": 0xFFFFFFFF8119C05B, "rsp": 0xFF6A4C0000003D08 + number, "cr3": 0x41F2000}
        frames = EXIT_STACK if number == 0 else IDLE_STACK
        curr = rp.RunningTask(cpu=number, pid=0, comm=f"swapper/{number}", sched_class="idle")
        return rp.VcpuReport(
            cpu=number, registers=registers, curr=curr, stack=rp.Stack(frames, "end of stack")
        )

    def _runqueue(self, number: int) -> rp.RunqueueReport:
        return rp.RunqueueReport(
            cpu=number, nr_running=3, scx_nr_running=3, flags=1, cpu_released=False, ops_qseq=435 + number,
            kick_sync=440, local_dsq_nr=0, rq_clock_ns=int(EJECTED_S * 1e9),
            curr=rp.RunningTask(cpu=number, pid=0, comm=f"swapper/{number}", sched_class="idle"),
            runnable_pids=tuple(pid for pid in self._pids() if (pid - 201 - number) % self.topology.cpus == 0),
        )  # fmt: skip

    def _task(self, number: int) -> rp.TaskReport:
        names = (f"{self.comm}-1", f"{self.comm}-0", "kworker/0:1", "init", "rcu_preempt", "kcompactd0")
        pids = (201, 200, 11, 103, 15, 40)
        turn = number // len(names)
        return rp.TaskReport(
            pid=pids[number % len(names)] + 1000 * turn,
            tgid=pids[number % len(names)] + 1000 * turn,
            comm=names[number % len(names)],
            state="R",
            sched_class="ext",
            policy="NORMAL",
            nice=0 if number != 2 else -20,
            weight=100,
            cpu=(number + 1) % self.topology.cpus,
            cpus_allowed="0-1" if number != 2 else "0",
            nr_cpus_allowed=2 if number != 2 else 1,
            age_ms=4100.0 - 16 * number,
            dsq="0x7",
            dsq_id=7,
            dsq_seq=40200 + number,
            scx_state="ENABLED",
            scx_flags=0xD,
            ops_state_name="NONE",
            ops_qseq=0,
            ops_state=0,
            dsq_flags=0,
            dsq_vtime=0,
            slice_ns=20_000_000,
            sticky_cpu=-1,
            holding_cpu=-1,
            running_there=self._running(),
            stack=rp.Stack(PREEMPTED_STACK, "user"),
        )
