"""The decoders of pictures, behind one interface; each is loaded when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from sightsound.stages.errors import DecoderUnavailableError

if TYPE_CHECKING:
    from sightsound.stages.decoders.base import Decoder

BackendName = Literal["pyav", "decord", "torchcodec"]
BACKENDS: tuple[BackendName, ...] = get_args(BackendName)


def create_decoder(name: BackendName) -> Decoder:
    """The decoder of a name, ready to use.

    Raises:
        DecoderUnavailableError: there is none of this name, or it does not load here.
    """
    decoder = find_decoder(name)
    decoder.load()
    return decoder()


def find_decoder(name: BackendName) -> type[Decoder]:
    """The class of a decoder, whether or not its library loads.

    Raises:
        DecoderUnavailableError: there is none of this name.
    """
    if name == "pyav":
        from sightsound.stages.decoders.pyav_decoder import PyAVDecoder

        return PyAVDecoder
    if name == "decord":
        from sightsound.stages.decoders.decord_decoder import DecordDecoder

        return DecordDecoder
    if name == "torchcodec":
        from sightsound.stages.decoders.torchcodec_decoder import TorchCodecDecoder

        return TorchCodecDecoder
    raise DecoderUnavailableError(
        f"there is no decoder {name!r}", f"set decode.backend to one of {', '.join(BACKENDS)}"
    )
