"""Stopping the guest, looking at it, and keeping what was seen.

The coordinator owns the engine: every freeze, capture and watchpoint goes through it. The sampler and the
monitor look at the running guest. The bridge and the store keep captures, in memory and on disk.
"""
