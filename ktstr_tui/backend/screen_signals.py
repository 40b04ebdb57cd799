"""What the screen that started a run tells it by a signal; apart, because a screen loads no trio."""

from __future__ import annotations

import signal

SCREEN_END = signal.SIGUSR1
"""Sent by the screen that started the run when its user chose to end it."""

SCREEN_LEFT = signal.SIGUSR2
"""Sent by that screen when its user chose to leave the run going."""
