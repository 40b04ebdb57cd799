"""One debugger's session: what is answered, when it speaks, and what it survives."""

from __future__ import annotations

import pytest
import trio
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from ktstr_tui.capture.debug_access import Resume
from ktstr_tui.capture.stop.debugger import DebuggerStop
from ktstr_tui.capture.stop.rendezvous import RendezvousTimeoutError
from ktstr_tui.capture.watch.debugger_points import Point
from ktstr_tui.debug.files import OfferedFile
from ktstr_tui.debug.session import Session, SessionCounts, stop_reply
from ktstr_tui.debug.target import Said
from ktstr_tui.guest.engine import EngineLostError
from ktstr_tui.guest.gdb_packets import encode
from ktstr_tui.guest.gdb_stop import parse_stop
from ktstr_tui.guest.retracing import WhereIsIt
from ktstr_tui.guest.retracing import encode as encode_request
from ktstr_tui.model.errors import UsageError
from tests.unit.debug.serving import SYMBOLS, FakeTarget, serving

ADDRESS = 0xFFFFFFFF81000000


async def test_registers_and_memory_are_asked_of_the_chosen_vcpu_one_request_each() -> None:
    async with serving() as debugger:
        assert await debugger.ask("g") == "cafe"
        assert await debugger.ask("Hg2") == "OK"
        assert await debugger.ask("p10") == "cafe"
        assert await debugger.ask(f"m{ADDRESS:x},10") == "E14"
        assert debugger.target.asked == [(0, "g"), (1, "p10"), (1, f"m{ADDRESS:x},10")]


async def test_what_is_no_single_request_never_gets_to_qemu() -> None:
    async with serving() as debugger:
        for text in ("g;c", "mzz,1", "m0", "p", f"m{'f' * 17},1", "G0", "M0,1:", "Hg9", "vCont;x"):
            assert (await debugger.ask(text))[:1] in ("E", "O"), text
        assert (await debugger.receive())[:1] == "O"  # the words about vCont, behind those about memory
        assert (await debugger.receive())[:1] == "E"
        assert debugger.target.asked == []


async def test_a_large_read_is_answered_in_part_as_qemus_packets_are_small() -> None:
    async with serving() as debugger:
        await debugger.ask("m1000,ffff")
        assert debugger.target.asked == [(0, "m1000,7f0")]


async def test_it_is_told_of_a_stop_only_when_there_is_one() -> None:
    async with serving() as debugger:
        assert await debugger.ask("?") == "T02thread:01;"
        await debugger.tell(encode("vCont;s:2;c"))
        assert debugger.target.resumed == [Resume(vcpu=1, step=True)]
        await debugger.target.send.send(DebuggerStop(vcpu=1))
        assert await debugger.receive() == "T05thread:02;"
        assert await debugger.ask("qC") == "QC2"  # registers are now those of the vCPU that stopped
        await debugger.tell(encode("c"))
        await debugger.tell(b"\x03")
        assert await debugger.receive() == "T02thread:01;"
        await debugger.tell(b"\x03")
        assert debugger.target.interrupts == 1  # a stopped guest is not interrupted


async def test_what_comes_while_the_guest_runs_is_counted_and_thrown_away() -> None:
    async with serving() as debugger:
        await debugger.tell(encode("c"))
        await debugger.tell(encode("g") + encode("m0,1"))
        assert debugger.counts.while_running == 2
        assert debugger.target.asked == []


@pytest.mark.parametrize("request_text", ["m1000,8", "M1000,1:00", "Z2,1000,8"])
async def test_why_gdb_is_refused_is_said_when_there_is_a_place_for_words(request_text: str) -> None:
    async with serving() as debugger:
        debugger.target.error = UsageError("the rerun ended", "continue leads back")
        answer = await debugger.ask(request_text)
        # gdb 13 reads the words as memory: its disassembler ends the whole of gdb. Elsewhere it shows none of them.
        assert answer == ("E14" if request_text[0] == "m" else "E.the rerun ended (continue leads back)")
        debugger.target.error = None
        for said in ("ktstr-tui: refused before: the rerun ended (continue leads back)\n", ""):
            await debugger.tell(encode("c"))
            assert not said or bytes.fromhex((await debugger.receive())[1:]).decode() == said
            await debugger.tell(b"\x03")
            assert await debugger.receive() == "T02thread:01;"


async def test_what_gdb_shows_by_itself_is_not_said_again() -> None:
    async with serving() as debugger:
        debugger.target.error = UsageError("the rerun ended")
        assert await debugger.ask("g") == "E.the rerun ended"
        debugger.target.error = None
        await debugger.tell(encode("c"))
        await debugger.tell(b"\x03")
        assert await debugger.receive() == "T02thread:01;"


async def test_who_steps_back_is_said_once_where_gdb_does_not_say_it() -> None:
    async with serving() as debugger:
        debugger.target.goes_back = True
        # What gdb does for `thread 2` and `reverse-stepi`; with its scheduler-locking it names the thread.
        for packets, vcpu, words in ((("Hg2", "Hc0"), 0, 1), (("Hg2", "Hc0"), 0, 0), (("Hg2", "Hc2"), 1, 0)):
            for packet in packets:
                assert await debugger.ask(packet) == "OK"
            await debugger.tell(encode("bs"))
            assert debugger.target.gone_back[-1] == (vcpu, True)
            for _ in range(words):
                said = bytes.fromhex((await debugger.receive())[1:]).decode()
                assert "the one that stopped last, thread 1; with set scheduler-locking step" in said
            await debugger.target.send.send(DebuggerStop(vcpu=0))
            assert await debugger.receive() == "T05thread:01;"


async def test_breakpoints() -> None:
    async with serving() as debugger:
        assert await debugger.ask(f"Z0,{ADDRESS:x},1") == "OK"
        assert await debugger.ask(f"Z4,{ADDRESS:x},8") == "OK"
        assert debugger.target.points == {Point("break", ADDRESS, 1), Point("awatch", ADDRESS, 8)}
        assert await debugger.ask(f"z0,{ADDRESS:x},1") == "OK"
        assert debugger.target.points == {Point("awatch", ADDRESS, 8)}
        debugger.target.error = UsageError("0 watch slots are free for the debugger")
        assert (await debugger.ask(f"Z2,{ADDRESS:x},8"))[:1] == "E"


async def test_a_resume_that_fails_says_why_and_is_answered_as_not_done() -> None:
    async with serving() as debugger:
        debugger.target.error = UsageError("no watch slot is free")
        text = await debugger.ask("c")
        assert bytes.fromhex(text[1:]) == b"ktstr-tui: no watch slot is free\n"
        assert await debugger.receive() == "E01"
        debugger.target.error = None
        assert await debugger.ask("g") == "cafe"


async def test_writes_are_refused_in_words() -> None:
    async with serving() as debugger:
        assert "--allow-writes" in await debugger.ask("M1000,1:00")


async def test_threads_are_the_vcpus_and_say_what_they_do() -> None:
    async with serving() as debugger:
        assert await debugger.ask("qfThreadInfo") == "m1,2"
        assert await debugger.ask("qsThreadInfo") == "l"
        assert bytes.fromhex(await debugger.ask("qThreadExtraInfo,2")) == b"CPU 1: }$#*"
        assert await debugger.ask("qAttached") == "1"


async def test_documents_and_the_file_of_symbols_come_in_parts() -> None:
    async with serving() as debugger:
        text, part = "", "m"
        while part[:1] == "m":
            part = await debugger.ask(f"qXfer:features:read:target.xml:{len(text):x},40")
            text += part[1:]
        assert text == debugger.target.description["target.xml"]
        assert await debugger.ask("qXfer:features:read:none.xml:0,40") == "E00"
        assert await debugger.ask("qXfer:exec-file:read:1:0,40") == "l/vmlinux"
        assert await debugger.ask(f"vFile:open:{b'/etc/passwd'.hex()},0,0") == "F-1,2"
        assert await debugger.ask(f"vFile:open:{b'/vmlinux'.hex()},1,0") == "F-1,1e"
        assert await debugger.ask("vFile:pread:1,10,0") == "F-1,9"
        assert await debugger.ask(f"vFile:open:{b'/vmlinux'.hex()},0,0") == "F1"
        content = b""
        while data := (await debugger.ask(f"vFile:pread:1,4000,{len(content):x}")).partition(";")[2]:
            content += data.encode("latin-1")
        assert content == SYMBOLS


async def test_it_ends_with_detach_and_kill_and_a_closed_connection_alike() -> None:
    for last in (encode("D"), encode("k"), encode("vKill;1"), b""):
        async with serving() as debugger:
            if last:
                await debugger.stream.send_all(last)
            else:
                await debugger.stream.aclose()
            await wait_all_tasks_blocked()
            assert debugger.reason in ("detached", "the debugger's connection was closed")


async def test_a_guest_that_is_gone_ends_it_and_an_answer_that_is_late_does_not() -> None:
    async with serving() as debugger:
        debugger.target.error = RendezvousTimeoutError("rendezvous timed out")
        assert (await debugger.ask("g"))[:1] == "E"
        debugger.target.error = EngineLostError("QEMU is gone")
        assert await debugger.ask("g") == "X09"
        await wait_all_tasks_blocked()
        assert debugger.reason == "QEMU is gone"


async def test_requests_are_acknowledged_until_the_debugger_turns_that_off() -> None:
    ours, theirs = memory_stream_pair()
    session = Session(theirs, FakeTarget(), OfferedFile(SYMBOLS), DebuggerStop(vcpu=0), SessionCounts())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.run)
        await ours.send_all(b"$g#00")
        await wait_all_tasks_blocked()
        assert bytes(await ours.receive_some(100)) == b"-"
        await ours.send_all(b"$?#3f")
        await wait_all_tasks_blocked()
        assert bytes(await ours.receive_some(100)) == b"+$T05thread:01;#07"
        nursery.cancel_scope.cancel()


async def test_garbage_is_counted_and_the_session_goes_its_way() -> None:
    async with serving() as debugger:
        await debugger.tell(b"\xff\x00{}" * 100)
        assert debugger.counts.junk_bytes == 400
        assert await debugger.ask("qUnheardOf:1") == ""
        assert await debugger.ask("g") == "cafe"


def test_stop_replies_are_those_that_our_own_client_reads() -> None:
    told = DebuggerStop(vcpu=2, watch="awatch", address=ADDRESS)
    assert stop_reply(told) == b"T05thread:03;awatch:%x;" % ADDRESS
    read = parse_stop(stop_reply(told).decode())
    assert (read.vcpu, read.watch_address) == (2, ADDRESS)


async def test_only_a_target_that_goes_back_is_offered_so_and_told_to() -> None:
    async with serving() as debugger:
        assert "Reverse" not in await debugger.ask("qSupported")
        assert await debugger.ask("bs") == ""
        debugger.target.goes_back = True
        assert "ReverseContinue+;ReverseStep+" in await debugger.ask("qSupported")
        await debugger.tell(encode("bs"))
        await debugger.target.send.send(Said("the run is had again"))
        said = await debugger.receive()
        assert bytes.fromhex(said[1:]).decode() == "ktstr-tui: the run is had again\n"
        await debugger.target.send.send(DebuggerStop(vcpu=1))
        assert await debugger.receive() == "T05thread:02;"
        assert await debugger.ask("Hc1") == "OK"
        await debugger.tell(encode("bc"))
        await debugger.target.send.send(DebuggerStop(vcpu=0, at_begin=True))
        assert await debugger.receive() == "T05thread:01;replaylog:begin;"
        assert debugger.target.gone_back == [(0, True), (0, False)]


async def test_what_a_run_is_asked_that_is_had_again_is_one_request_or_none() -> None:
    async with serving() as debugger:
        for text in ("QKtstr:", "QKtstr:xyz", "QKtstr:00;c", "QKtstr"):
            assert (await debugger.ask(text))[:1] == "E", text
        assert debugger.target.asked == []
        await debugger.ask(encode_request(WhereIsIt()))
        assert debugger.target.asked == [(0, encode_request(WhereIsIt()))]
