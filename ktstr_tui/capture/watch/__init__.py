"""Watchpoints: which expression is watched in which slot, and what one hit shows."""
