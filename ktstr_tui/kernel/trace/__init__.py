"""The kernel's own flight recorder: its trace ring buffer, read out of guest memory.

The kernel keeps, per CPU, a ring of pages into which every event that is switched on is written. When the ring is full
the oldest page is overwritten, so it always holds what happened last. Nobody in the guest takes part in reading it.

`rings` finds the pages and copies them, `formats` reads how this kernel lays out its events, `decode` makes values of
them, and `reader` puts it together.
"""

from ktstr_tui.kernel.trace.reader import Trace, TraceReader, read_trace

__all__ = ["Trace", "TraceReader", "read_trace"]
