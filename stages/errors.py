"""Errors of the stages: typed, with a code for tables and one sentence for people."""

from __future__ import annotations

import unicodedata
from typing import Literal, get_args

StageName = Literal[
    "probe", "plan", "decode", "spectrogram", "features", "fuse", "segment", "write"
]

ErrorCode = Literal[
    "not_found",
    "is_directory",
    "not_readable",
    "empty_file",
    "not_media",
    "no_stream",
    "no_decoder",
    "no_track",
    "not_allowed",
    "too_large",
    "no_packets",
    "no_sound",
    "no_picture",
    "nothing_decoded",
    "damaged",
    "truncated",
    "timeout",
    "crashed",
    "out_of_memory",
    "changed",
    "internal",
]
ERROR_CODES: tuple[str, ...] = get_args(ErrorCode)

# Controls, halves of characters (bytes that are no UTF-8), ends of lines and of paragraphs.
_NOT_SHOWN = frozenset(("Cc", "Cs", "Zl", "Zp"))
# They turn the direction of writing, so that a name looks like another one.
_BIDIRECTIONAL = frozenset(
    map(chr, (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))
)


def printable(text: str) -> str:
    """Text fit for one line of a terminal: what would move or recolour it is shown as escapes.

    The bytes of a name that are not UTF-8 (``surrogateescape``) are shown as ``\\xNN``.
    """
    if text.isprintable():
        return text
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character not in _BIDIRECTIONAL and unicodedata.category(character) not in _NOT_SHOWN:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


class StageError(Exception):
    """A stage cannot go on with this one video.

    The message is one sentence that says what is wrong, where, and what to do. It ends up in
    the row of the video (``error_stage``, ``error_code``, ``error_message``); names in it are
    made ``printable``.
    """

    def __init__(self, stage: StageName, code: ErrorCode, message: str) -> None:
        self.message = printable(message)
        super().__init__(self.message)
        self.stage: StageName = stage
        self.code: ErrorCode = code

    def __reduce__(self) -> tuple[type[StageError], tuple[StageName, ErrorCode, str]]:
        return (type(self), (self.stage, self.code, self.message))


class PlanMismatchError(Exception):
    """A frame that the packet plan promised did not come out of the decoder.

    Not an error of the video: the slice is decoded again in full.
    """


class DecoderUnavailableError(Exception):
    """A decoder cannot be used on this machine: ``reason`` says why, ``remedy`` what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason, self.remedy = reason, remedy

    def __str__(self) -> str:
        return f"{self.reason}: {self.remedy}."
