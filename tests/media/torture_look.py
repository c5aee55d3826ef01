"""Files whose pictures are unusual: turned, stretched, deep, bright, odd or transparent."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from media.make import Picture, even_times
from media.torture import Torture, of_picture

_N = 50
_X265 = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=25"}
_VPX = {"deadline": "realtime", "cpu-used": "8"}
# Primaries, transfer and matrix by ITU-T H.273: BT.2020 with PQ, and with HLG.
_PQ, _HLG = (9, 16, 9), (9, 18, 9)


def _look(
    file: str, ails: str, *, options: Mapping[str, str] | None = None, **picture: object
) -> Torture:
    shape = {"times": even_times(_N), "gop": 25, "options": options or {}, **picture}
    return of_picture("look", file, ails, Picture(**shape))  # type: ignore[arg-type]


LOOK = [
    _look("rotation_90.mp4", "stored on its side", rotation=90),
    _look("rotation_180.mp4", "stored upside down", rotation=180),
    _look("rotation_270.mp4", "stored on its other side", rotation=-90),
    _look("pixels_16_11.mp4", "pixels wider than high", pixel_aspect=Fraction(16, 11)),
    _look("ten_bit.mp4", "10 bit H.264", pixel_format="yuv420p10le"),
    _look("ten_bit_hevc.mp4", "10 bit HEVC", codec="libx265", pixel_format="yuv420p10le",
          options=_X265),
    _look("twelve_bit_hevc.mp4", "12 bit HEVC", codec="libx265", pixel_format="yuv420p12le",
          options=_X265),
    _look("ten_bit_av1.mp4", "10 bit AV1", codec="libsvtav1", pixel_format="yuv420p10le",
          options={"preset": "10", "svtav1-params": "lp=1"}),
    _look("sixteen_bit_ffv1.mkv", "16 bit grey FFV1", codec="ffv1", pixel_format="gray16le"),
    _look("hdr_pq.mp4", "HDR10: BT.2020 with PQ", codec="libx265", pixel_format="yuv420p10le",
          options=_X265, colours=_PQ),
    _look("hdr_hlg.mp4", "HLG: BT.2020", codec="libx265", pixel_format="yuv420p10le",
          options=_X265, colours=_HLG),
    _look("odd_size.webm", "161x121", codec="libvpx-vp9", width=161, height=121, options=_VPX),
    _look("odd_size_444.mp4", "97x73 in 4:4:4", width=97, height=73, pixel_format="yuv444p"),
    _look("alpha.webm", "VP9 with transparency", codec="libvpx-vp9", pixel_format="yuva420p",
          options=_VPX),
    _look("alpha_vp8.webm", "VP8 with transparency", codec="libvpx", pixel_format="yuva420p",
          options={**_VPX, "auto-alt-ref": "0"}),
    _look("alpha_png.mov", "PNG with transparency", codec="png", pixel_format="rgba"),
    _look("alpha_prores.mov", "ProRes 4444 with transparency", codec="prores_ks",
          pixel_format="yuva444p10le", options={"profile": "4444"}),
]  # fmt: skip
