"""Which packets of H.264 hold no frame but the second of its two fields.

In a transport stream, and in a bare one, each field that is coded by itself is a packet of its
own, often without a time. The frame is shown at the time of the first.
"""

from __future__ import annotations

from dataclasses import dataclass

from av.video.codeccontext import VideoCodecContext

from sightsound.stages.bitstream import SLICE_KINDS, units
from sightsound.stages.media import Packet

_SEQUENCE = 7
# Profiles whose sequence parameters go on with the format of colours (H.264, 7.3.2.1.1).
_HIGH_PROFILES = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))
_SLICE_HEADER_BYTES = 32


class FieldPairs:
    """Tells, of packets in decode order, which are second fields.

    The last sequence parameters seen hold for all.
    """

    def __init__(self) -> None:
        self._sequence: _Sequence | None = None
        self._has_extradata = False
        self._open_field: tuple[int, int] | None = None

    def is_second(self, packet: Packet, context: VideoCodecContext) -> bool:
        """Whether the next packet completes a frame that the one before began."""
        if context.codec.canonical_name != "h264":
            return False
        if not self._has_extradata:
            self._has_extradata = True
            self._read_extradata(context.extradata)
        field = None
        if packet.is_keyframe or self._sequence is None or self._sequence.may_have_fields:
            field = self._field(packet, context)
        before, self._open_field = self._open_field, field
        if field is None or before is None or field[0] != before[0] or field[1] == before[1]:
            return False
        self._open_field = None
        return True

    def _read_extradata(self, extradata: bytes | None) -> None:
        if not extradata:
            return
        if extradata[0] == 1:
            # One set of parameters or more, each with its length (ISO/IEC 14496-15, 5.3.3.1.2).
            length = int.from_bytes(extradata[6:8])
            found = [extradata[8 : 8 + length]]
        else:
            found = [bytes(unit) for unit in units(memoryview(extradata), None)]
        for unit in found:
            if unit and unit[0] & 31 == _SEQUENCE:
                self._sequence = _read_sequence(unit) or self._sequence

    def _field(self, packet: Packet, context: VideoCodecContext) -> tuple[int, int] | None:
        """The number of the frame that a packet's first picture is a field of, and which field it
        is, 0 the top one; None for a whole frame."""
        for unit in units(memoryview(packet), context.extradata):
            kind = unit[0] & 31
            if kind == _SEQUENCE:
                self._sequence = _read_sequence(bytes(unit)) or self._sequence
            elif kind in SLICE_KINDS:
                sequence = self._sequence
                if sequence is None or not sequence.may_have_fields:
                    return None
                return _field_of_slice(bytes(unit[:_SLICE_HEADER_BYTES]), sequence)
        return None


@dataclass(frozen=True, kw_only=True)
class _Sequence:
    """What sequence parameters say of the slice headers that follow."""

    may_have_fields: bool
    has_colour_planes: bool
    frame_number_bits: int


class _Bits:
    """The bits of a unit behind its header, one after the other.

    Raises:
        EOFError: it has no more.
    """

    def __init__(self, unit: bytes) -> None:
        payload = unit[1:].replace(b"\x00\x00\x03", b"\x00\x00")
        self._bits = "".join(f"{byte:08b}" for byte in payload)
        self._position = 0

    def fixed(self, length: int) -> int:
        """A number of ``length`` bits."""
        begin, self._position = self._position, self._position + length
        if self._position > len(self._bits):
            raise EOFError
        return int(self._bits[begin : self._position] or "0", 2)

    def golomb(self) -> int:
        """An unsigned number ue(v) (H.264, 9.1)."""
        first_one = self._bits.find("1", self._position)
        if first_one < 0:
            raise EOFError
        n_zeros = first_one - self._position
        self._position = first_one
        return self.fixed(n_zeros + 1) - 1

    def signed_golomb(self) -> int:
        """A signed number se(v) (H.264, 9.1.1)."""
        code = self.golomb()
        return (code + 1) // 2 if code % 2 else -(code // 2)


def _read_sequence(unit: bytes) -> _Sequence | None:
    """Sequence parameters (H.264, 7.3.2.1.1); None where they are damaged."""
    try:
        return _parse_sequence(_Bits(unit))
    except EOFError:
        return None


def _parse_sequence(bits: _Bits) -> _Sequence:
    profile = bits.fixed(8)
    bits.fixed(16)
    bits.golomb()
    has_colour_planes = False
    if profile in _HIGH_PROFILES:
        colours = bits.golomb()
        has_colour_planes = colours == 3 and bool(bits.fixed(1))
        bits.golomb()
        bits.golomb()
        bits.fixed(1)
        if bits.fixed(1):
            for number in range(12 if colours == 3 else 8):
                if bits.fixed(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    frame_number_bits = bits.golomb() + 4
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.fixed(1)
        bits.golomb()
        bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()
    bits.golomb()
    bits.fixed(1)
    bits.golomb()
    bits.golomb()
    return _Sequence(
        may_have_fields=not bits.fixed(1),
        has_colour_planes=has_colour_planes,
        frame_number_bits=frame_number_bits,
    )


def _skip_scaling_list(bits: _Bits, length: int) -> None:
    """H.264, 7.3.2.1.1.1."""
    last = following = 8
    for _ in range(length):
        if following:
            following = (last + bits.signed_golomb()) % 256
        last = following or last


def _field_of_slice(unit: bytes, sequence: _Sequence) -> tuple[int, int] | None:
    """Frame number and field of a slice (H.264, 7.3.3); None for one of a whole frame."""
    bits = _Bits(unit)
    try:
        bits.golomb()
        bits.golomb()
        bits.golomb()
        if sequence.has_colour_planes:
            bits.fixed(2)
        number = bits.fixed(sequence.frame_number_bits)
        return (number, bits.fixed(1)) if bits.fixed(1) else None
    except EOFError:
        return None
