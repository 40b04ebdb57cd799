"""The protocol's test vectors, as values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from ktstr_tui.wire.vlp import Beat, Status

_FILE: Final = Path(__file__).with_name("vlp_test_vectors.json")
VECTORS: Final[dict[str, Any]] = json.loads(_FILE.read_text())
"""The file as it is."""
CRC32C: Final = [
    (vector["id"], bytes.fromhex(vector["input_hex"]), int(vector["crc_hex"], 16))
    for vector in VECTORS["crc32c"]
]
ROUND_TRIPS: Final = [
    (
        vector["id"],
        Beat(
            Status[vector["status"].upper()],
            vector["pid"],
            vector["timestamp"],
            vector["nonce"],
            vector["payload"],
        ),
        bytes.fromhex(vector["wire_hex"]),
    )
    for vector in VECTORS["round_trip"]
]
ERRORS: Final = [(vector["error"], bytes.fromhex(vector["wire_hex"])) for vector in VECTORS["decode_error"]]
SECURE: Final[dict[str, dict[str, Any]]] = VECTORS["secure"]
