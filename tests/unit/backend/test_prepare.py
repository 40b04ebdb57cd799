"""What cannot be is refused before anything takes time: no kernel is looked up and no guest is booted."""

from __future__ import annotations

import pytest

from ktstr_tui.backend import prepare as module
from ktstr_tui.backend.config import RunConfig
from ktstr_tui.backend.prepare import prepare
from ktstr_tui.model.errors import HostError, UsageError
from ktstr_tui.model.topology import Topology


@pytest.fixture(autouse=True)
def _nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def looked_up(config: RunConfig) -> None:
        pytest.fail(f"looked up {config.kernel}")

    monkeypatch.setattr(module, "_look_up", looked_up)


async def test_more_memory_than_the_host_has_is_refused_with_the_limit() -> None:
    with pytest.raises(HostError, match=r"needs \d+ MiB with QEMU; .* leaves \d+ MiB"):
        await prepare(RunConfig(memory_mib=1 << 30), print)


async def test_less_memory_than_the_nodes_need_is_refused_with_the_least() -> None:
    with pytest.raises(UsageError, match="too little for 8n8l1c1t") as error:
        await prepare(RunConfig(memory_mib=256, topology="8n8l1c1t"), print)
    assert error.value.hint == "give 512 MiB or more"


def test_more_nodes_than_qemu_takes_are_refused_with_the_limit() -> None:
    assert Topology.parse("128n128l1c1t").nodes == 128
    with pytest.raises(UsageError, match="has 129 NUMA nodes") as error:
        Topology.parse("129n129l1c1t")
    assert error.value.hint == "use at most 128"
