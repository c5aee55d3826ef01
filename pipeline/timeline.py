"""Times as people read them."""

from __future__ import annotations


def clock_time(seconds: float) -> str:
    """Seconds as m:ss.s, or h:mm:ss.s from an hour on; truncated, so never past the true time."""
    tenths = int(seconds * 10 + 1e-6)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    text = f"{minutes:02d}:{rest / 10:04.1f}" if hours else f"{minutes}:{rest / 10:04.1f}"
    return f"{hours}:{text}" if hours else text
