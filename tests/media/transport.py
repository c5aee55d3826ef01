"""Surgery on MPEG transport streams (ISO/IEC 13818-1): packets of 188 bytes."""

from __future__ import annotations

from collections import defaultdict

_LENGTH = 188
# Where the 33-bit clock of 90 kHz starts again, in its ticks.
WRAP_TICKS = 1 << 33


def joined(*parts: bytes) -> bytes:
    """Streams one behind the other, their continuity counters made to go on without a break."""
    data = bytearray(b"".join(parts))
    counters: dict[int, int] = defaultdict(lambda: -1)
    for at in range(0, len(data), _LENGTH):
        assert data[at] == 0x47
        pid = (data[at + 1] & 0x1F) << 8 | data[at + 2]
        has_payload = data[at + 3] >> 4 & 1
        if pid == 0x1FFF:
            continue
        # The counter does not move for a packet without payload (2.4.3.3).
        counters[pid] = (counters[pid] + has_payload) & 0xF
        data[at + 3] = data[at + 3] & 0xF0 | counters[pid]
    return bytes(data)


def without_some_times(data: bytes, *, keep_every: int) -> bytes:
    """A stream whose picture states a time only for one in ``keep_every`` of its frames."""
    result = bytearray(data)
    number = 0
    for at in range(0, len(result), _LENGTH):
        header = _picture_header(result, at)
        if header is None:
            continue
        number += 1
        if number % keep_every == 1:
            continue
        n_times = result[header + 7] >> 6
        result[header + 7] &= 0x3F
        length = {0: 0, 2: 5, 3: 10}[n_times]
        result[header + 9 : header + 9 + length] = b"\xff" * length
    return bytes(result)


def _picture_header(data: bytearray, at: int) -> int | None:
    """Where the header of a picture's packet of the elementary stream begins (2.4.3.6)."""
    if not data[at + 1] & 0x40:
        return None
    adapted = data[at + 3] >> 5 & 1
    header = at + 4 + (1 + data[at + 4] if adapted else 0)
    if bytes(data[header : header + 3]) != b"\0\0\1" or not 0xE0 <= data[header + 3] <= 0xEF:
        return None
    return header
