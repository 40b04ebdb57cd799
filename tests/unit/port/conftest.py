from __future__ import annotations

from tests.unit.capture.conftest import no_threads  # noqa: F401 (a fixture)
