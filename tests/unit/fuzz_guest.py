"""Seeds and decoders of what QEMU and the guest's memory hold."""

from __future__ import annotations

import functools
import os
from collections.abc import Coroutine
from typing import Any

from ktstr_tui.debug.answers import Answers
from ktstr_tui.debug.files import OfferedFile
from ktstr_tui.debug.requests import PACKET_BYTES, Asked, RequestReader, encode_answer
from ktstr_tui.debug.vcont import parse_vcont
from ktstr_tui.guest.gdb_packets import PacketReader
from ktstr_tui.guest.gdb_packets import encode as encode_gdb
from ktstr_tui.guest.gdb_target import parse_features
from ktstr_tui.kernel.btf import Btf, BtfError, Kind
from ktstr_tui.kernel.layout import Layout
from ktstr_tui.kernel.memory import GuestRam
from ktstr_tui.kernel.render import Renderer
from ktstr_tui.kernel.view import KernelView
from ktstr_tui.kernel.vmcoreinfo import find_vmcoreinfo
from ktstr_tui.model.errors import KtstrError
from tests.unit.debug.serving import SYMBOLS, FakeTarget
from tests.unit.fuzz_inputs import PAGE, RAM_PAGES, refused_or
from tests.unit.kernel.blob import BlobBuilder

# -- what QEMU and the guest's memory hold ------------------------------------------------------------------

_FEATURES = (
    '<?xml version="1.0"?><target><architecture>i386:x86-64</architecture>'
    '<feature name="org.gnu.gdb.i386.core"><reg name="rax" bitsize="64" regnum="0"/>'
    '<reg name="rip" bitsize="64"/><reg name="eflags" bitsize="32"/></feature></target>'
)


def gdb_seeds() -> list[bytes]:
    """Replies of a stub, plain, escaped, with run lengths, and the XML that describes registers."""
    plain = [
        encode_gdb(text) for text in ("OK", "T05thread:01;watch:ffffffff83a00000;", "E14", "0123abcd" * 40)
    ]
    body = b"m00000000* }\x03}\x04"
    return [
        b"+".join(plain),
        b"$%s#%02x" % (body, sum(body) & 255),
        _FEATURES.encode(),
        b"$l" + _FEATURES.replace("}", "").encode() + b"#00",
    ]


def repair_gdb(data: bytes) -> bytes:
    """The same with the first packet's checksum made right."""
    start = data.find(b"$")
    end = data.find(b"#", start)
    if start < 0 or end < 0:
        return data
    return data[: end + 1] + b"%02x" % (sum(data[start + 1 : end]) & 255) + data[end + 3 :]


def run_gdb(data: bytes) -> None:
    """Packets out of a stream in two splits, and registers out of a description."""
    whole, pieces = PacketReader(), PacketReader()
    packets = whole.feed(data)
    assert packets == [packet for at in range(0, len(data), 7) for packet in pieces.feed(data[at : at + 7])]
    assert (whole.junk_bytes, whole.bad_checksums) == (pieces.junk_bytes, pieces.bad_checksums)
    refused_or(lambda: parse_features(data.decode("latin-1")), KtstrError)


def debugger_seeds() -> list[bytes]:
    """Requests of gdb and lldb as they come, one after the other and with an interrupt between."""
    asked = (
        "qSupported:multiprocess+;swbreak+", "QStartNoAckMode", "qXfer:features:read:target.xml:0,fff", "?",
        "Hg1", "g", "p10", "mffffffff81000000,40", "G" + "00" * 16, "Mffff,2:c0de", "P10=0000000000000000",
        "Z0,ffffffff81000000,1", "z2,ffffffff82000000,8", "qfThreadInfo", "qThreadExtraInfo,1", "T1",
        "qXfer:exec-file:read:1:0,40", "vFile:open:2f766d6c696e7578,0,1c0", "vFile:pread:1,40,0", "vFile:fstat:1",
    )  # fmt: skip
    resumes = ("vCont;s:1;c", "vCont;c", "Hc-1", "s", "c", "D")
    return [
        b"+".join(map(encode_gdb, asked)),
        *(b"".join(map(encode_gdb, (it, "g"))) + b"\x03" for it in resumes),
    ]


def run_debugger(data: bytes) -> None:
    """Requests out of a stream in two splits, and an answer or a refusal to each."""
    whole, pieces = RequestReader(), RequestReader()
    heard = whole.feed(data)
    assert heard == [it for at in range(0, len(data), 7) for it in pieces.feed(data[at : at + 7])]
    answers = Answers(FakeTarget(), OfferedFile(SYMBOLS))
    for it in heard:
        if isinstance(it, Asked):
            text = it.data.decode("latin-1")
            refused_or(lambda text=text: at_once(answers.answer(text)), KtstrError)  # type: ignore[misc]
            refused_or(lambda text=text: parse_vcont(text, 2), KtstrError)  # type: ignore[misc]


def at_once(answer: Coroutine[Any, Any, bytes]) -> None:
    """Run what waits for nothing."""
    encoded = b""
    try:
        answer.send(None)
    except StopIteration as done:
        encoded = encode_answer(done.value)
    assert 4 <= len(encoded) <= 2 * PACKET_BYTES


def btf_seeds() -> list[bytes]:
    """A blob with one of each kind of type, and one that nests."""
    blob = BlobBuilder()
    i32, char = blob.integer("int", 4, 1), blob.integer("char", 1, 1)
    inner = blob.compound("", 8, [("left", i32, 0), ("right", i32, 4)], Kind.UNION)
    outer = blob.compound("outer", 24, [("id", i32, 0), ("", inner, 8), ("name", blob.array(char, 8), 16)])
    blob.bit_fields("flags", 4, [("a", i32, 0, 3), ("b", i32, 3, 5)])
    blob.enum("color", [("RED", 0), ("BLUE", -1)], signed=True)
    blob.enum64("big", [("HUGE", 1 << 40)])
    blob.section(".data", 24, [(blob.variable("thing", blob.wrap(Kind.TYPEDEF, "outer_t", outer)), 0, 24)])
    blob.pointer(blob.wrap(Kind.CONST, "", outer))
    nested = BlobBuilder()
    word = nested.integer("u64", 8)
    for _ in range(6):
        word = nested.compound("", 8, [("", word, 0), ("x", word, 0), ("", word, 0)])
    nested.compound("deep", 8, [("", word, 0), ("", word, 0)])
    return [blob.build(), nested.build()]


def run_btf(data: bytes) -> None:
    """Parse, then ask everything that callers ask; each refusal is one answer."""
    btf = Btf(data)
    for type_id in range(min(btf.end_id + 1, 60)):
        refused_or(lambda type_id=type_id: _ask(btf, type_id), BtfError)  # type: ignore[misc]
    refused_or(lambda: btf.enum_value("RED", 7), BtfError)
    for name in ("outer", "deep", "", "color", "nothing"):
        btf.find(name, Kind.STRUCT, Kind.UNION, Kind.ENUM)
    refused_or(lambda: _read_by_layout(btf), BtfError)


def _read_by_layout(btf: Btf) -> None:
    layout = Layout(btf, "outer", {"id": "id", "name": "name", "either": ("nothing", "right")})
    if layout.end <= 2 * PAGE:
        layout.decode(bytes(layout.end - layout.start))


def _ask(btf: Btf, type_id: int) -> None:
    record = btf.resolve(type_id)
    btf.size_of(type_id)
    Renderer(btf, max_array=20, max_values=500).render(type_id, bytes(range(200)))
    match record.kind:
        case Kind.STRUCT | Kind.UNION:
            btf.members(record.id)
            for path in ("id", "right", "name", "x", "nothing", "x.x.x", "left.right"):
                btf.place(record.id, path)
        case Kind.ENUM | Kind.ENUM64:
            btf.enumerators(record.id)
        case Kind.INT:
            btf.int_encoding(record.id)
        case Kind.ARRAY:
            btf.array_of(record.id)


_UTS_PAGE = 3


def vmcoreinfo_seeds() -> list[bytes]:
    """Notes as a kernel writes them, one for the release that is in memory."""
    uts = 0xFFFFFFFF80000000 + _UTS_PAGE * PAGE
    note = (
        b"OSRELEASE=6.99.0-test\nBUILD-ID=00\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=%x\n"
        b"OFFSET(uts_namespace.name)=4\nNUMBER(phys_base)=0\nSYMBOL(swapper_pg_dir)=ffffffff80008000\n" % uts
    )
    return [
        note,
        note.replace(b"6.99.0", b"7.00.1"),
        note + b"NUMBER(pgtable_l5_enabled)=1\nKERNELOFFSET=0\n",
    ]


@functools.cache
def _ram() -> tuple[int, GuestRam]:
    fd = os.memfd_create("fuzz-ram")
    os.ftruncate(fd, RAM_PAGES * PAGE)
    os.pwrite(fd, b"6.99.0-test", _UTS_PAGE * PAGE + 4 + 2 * 65)
    return fd, GuestRam.from_fds([(fd, 0, 0, RAM_PAGES * PAGE)])


def run_vmcoreinfo(data: bytes) -> None:
    """Find the note in memory that holds it twice, once in the last page."""
    fd, ram = _ram()
    page = data[:PAGE].ljust(PAGE, b"\0")
    for number in (7, RAM_PAGES - 1):
        os.pwrite(fd, page, number * PAGE)
    found = find_vmcoreinfo(ram)
    assert found is None or found in page
    if found is not None:
        KernelView.open(ram, found)
