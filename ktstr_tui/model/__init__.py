"""Pure values shared by every room: events, the run's state, the fold, capture reports, topology.

Nothing here does I/O, reads a clock, or imports trio, zmq or textual.
"""
