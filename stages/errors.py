"""Errors of the stages: typed, with a code for tables and one sentence for people."""

from __future__ import annotations

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
    "no_packets",
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


class StageError(Exception):
    """A stage cannot go on with this one video.

    The message is one sentence that says what is wrong, where, and what to do. It ends up in
    the row of the video (``error_stage``, ``error_code``, ``error_message``).
    """

    def __init__(self, stage: StageName, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.stage: StageName = stage
        self.code: ErrorCode = code
        self.message = message

    def __reduce__(self) -> tuple[type[StageError], tuple[StageName, ErrorCode, str]]:
        return (type(self), (self.stage, self.code, self.message))


class PlanMismatchError(Exception):
    """A frame that the packet plan promised did not come out of the decoder.

    Not an error of the video: the slice is decoded again in full.
    """
