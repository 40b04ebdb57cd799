"""Heartbeats: which processes beat, which fell silent, and why.

The tracker is the ledger: it knows each sender's last beat, and nothing of sockets or clocks. What feeds it
passes the time in, so that frozen time can be left out and tests need not wait.
"""
