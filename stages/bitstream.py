"""What containers do not say of a packet and its own first bits do."""

from __future__ import annotations

import re
from collections.abc import Iterator

from av.video.codeccontext import VideoCodecContext

from sightsound.stages.media import Packet

_SLICE, _IDR_SLICE, _SEI = 1, 5, 6
SLICE_KINDS = (_SLICE, _IDR_SLICE)
_RECOVERY_POINT = 6
_START_CODE = re.compile(rb"\x00\x00\x01")
# Messages come before the first slice and are short; a slice is not read.
_MESSAGE_BYTES = 4096


def is_hidden(packet: Packet, context: VideoCodecContext) -> bool:
    """Whether a packet holds only a VP8 or VP9 frame for others to refer to, never shown.

    RFC 6386, 9.1 (show_frame in the frame tag); VP9 bitstream specification, 7.2 and annex B.
    """
    codec, data = context.codec.canonical_name, memoryview(packet)
    if packet.is_keyframe:
        return False
    if codec == "vp8":
        return not data[0] >> 4 & 1
    # A superframe ends in an index of its frames, and the last of them is shown.
    if codec != "vp9" or data[0] >> 6 != 0b10 or data[-1] >> 5 == 0b110:
        return False
    flags = data[0] & 0b1111
    if data[0] >> 4 & 0b11 == 0b11:  # Profile 3 has one more bit before the flags.
        flags = (data[0] << 1 | data[1] >> 7) & 0b1111 if len(data) > 1 else 0b1111
    shows_existing, is_predicted, is_shown = flags >> 3 & 1, flags >> 2 & 1, flags >> 1 & 1
    return not shows_existing and bool(is_predicted) and not is_shown


def opens_h264_group(packet: Packet, context: VideoCodecContext) -> bool:
    """Whether a key frame of H.264 lets later frames refer to what came before it (no IDR)."""
    if context.codec.canonical_name != "h264":
        return False
    kinds = (unit[0] & 31 for unit in units(memoryview(packet), context.extradata))
    return next((kind for kind in kinds if kind in SLICE_KINDS), None) == _SLICE


def refreshes_gradually(packet: Packet, context: VideoCodecContext) -> bool:
    """Whether pictures are exact only some frames after this packet, an H.264 key frame.

    With gradual refresh (an encoder's "intra refresh") no picture is whole by itself: a key
    frame is where a sweep of intra blocks begins. The recovery point message before it says
    after how many frames the sweep is complete (H.264, D.1.8 and D.2.8).
    """
    if context.codec.canonical_name != "h264":
        return False
    for unit in units(memoryview(packet), context.extradata):
        kind = unit[0] & 31
        if kind in SLICE_KINDS:
            return False
        if kind == _SEI and _frames_to_recovery(bytes(unit[1:])) > 0:
            return True
    return False


def units(data: memoryview, extradata: bytes | None) -> Iterator[memoryview]:
    """The starts of the NAL units of a packet: of each at most some kB, none empty."""
    if extradata and extradata[0] == 1 and len(extradata) > 4:
        size_of_length, position = (extradata[4] & 3) + 1, 0
        while position + size_of_length < len(data):
            length = int.from_bytes(data[position : position + size_of_length])
            position += size_of_length
            if length:
                yield data[position : position + min(length, _MESSAGE_BYTES)]
            position += length
        return
    for match in _START_CODE.finditer(data):
        begin, limit = match.end(), match.end() + _MESSAGE_BYTES
        following = _START_CODE.search(data, begin, limit)
        unit = data[begin : following.start() if following else limit]
        if len(unit):
            yield unit


def _frames_to_recovery(messages: bytes) -> int:
    """The count in the recovery point among supplemental messages; 0 where there is none."""
    messages = messages.replace(b"\x00\x00\x03", b"\x00\x00")
    position = 0
    while position + 2 < len(messages):
        kind, position = _growing_number(messages, position)
        size, position = _growing_number(messages, position)
        if kind == _RECOVERY_POINT:
            return _exponential_golomb(messages[position : position + size])
        position += size
    return 0


def _growing_number(data: bytes, position: int) -> tuple[int, int]:
    """A number as the sum of bytes up to the first that is not 255; and where it ends."""
    number = 0
    while position < len(data):
        number += data[position]
        position += 1
        if data[position - 1] != 255:
            break
    return number, position


def _exponential_golomb(data: bytes) -> int:
    """The unsigned number ue(v) that begins ``data`` (H.264, 9.1)."""
    bits = "".join(f"{byte:08b}" for byte in data)
    zeros = len(bits) - len(bits.lstrip("0"))
    digits = bits[zeros : 2 * zeros + 1]
    return int(digits, 2) - 1 if len(digits) == zeros + 1 else 0
