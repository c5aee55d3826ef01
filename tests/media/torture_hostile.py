"""Files made to hurt: absurd headers, bombs, playlists that name other files, nasty names."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

from media.boxes import (
    Box,
    change_movie,
    claim_a_billion_frames,
    claim_gigabyte_of_tags,
    refer_to_another_file,
)
from media.damage import with_matroska_duration, with_stated_duration
from media.giants import GIANT, gif_of, h264_of, png_of_zeros, write_packets
from media.jpeg import jpeg, with_claimed_size
from media.make import Picture, Sound, even_times, make_clip
from media.pictures import numbered
from media.sounds import sweep
from media.torture import Status, Torture

_ONE_SECOND = Picture(times=even_times(25), gop=25)
_ANY: tuple[Status, ...] = ("ok", "partial", "failed")
SECRET = "secret.mp4"
ADDRESS = "http://127.0.0.1:9/never.mp4"


def _hostile(
    file: str,
    ails: str,
    make: Callable[[Path], object],
    statuses: tuple[Status, ...] = _ANY,
    *,
    duration_s: float | None = None,
    needs_limits: bool = False,
) -> Torture:
    return Torture(
        kind="hostile",
        file=file,
        ails=ails,
        make=make,
        statuses=statuses,
        duration_s=duration_s,
        needs_limits=needs_limits,
    )


def _clip(path: Path) -> Path:
    return make_clip(path, picture=_ONE_SECOND)


def _movie(change: Callable[[Box], None]) -> Callable[[Path], None]:
    return lambda path: change_movie(_clip(path), path, change)


def _text(text: str) -> Callable[[Path], None]:
    """A file of text, and beside it the file that it names."""

    def make(path: Path) -> None:
        _clip(path.with_name(SECRET))
        path.write_text(text)

    return make


def _image_sequence(path: Path) -> None:
    """A JPEG whose name FFmpeg takes for that of a sequence, and the pictures of one."""
    picture = jpeg(numbered(1, 96, 72))
    path.write_bytes(picture)
    for number in range(3):
        path.with_name(path.name.replace("%03d", f"{number:03d}")).write_bytes(picture)


def _data_elsewhere(path: Path) -> None:
    secret = _clip(path.with_name("secret.mov"))
    make_clip(path, picture=_ONE_SECOND)
    change_movie(path, path, lambda movie: refer_to_another_file(movie, target=str(secret.name)))


def _id3_of_256_megabytes(path: Path) -> None:
    sound = Sound(samples=sweep(1, 16000, channels=2), codec="libmp3lame", rate_hz=16000)
    make_clip(path, sound=sound, options={"id3v2_version": "0", "write_xing": "0"})
    # A length of 28 bits, seven to a byte (ID3v2.4, 3.1 and 6.2).
    path.write_bytes(b"ID3\x04\0\0" + b"\x7f" * 4 + b"TIT2" + b"\x7f" * 4 + b"\0\0" +
                     path.read_bytes())  # fmt: skip


def _gigabyte_of_matroska_tags(path: Path) -> None:
    """Tags of a gigabyte before the first cluster of a recording of unknown length."""
    make_clip(path, picture=_ONE_SECOND, options={"live": "1"})
    data = path.read_bytes()
    gigabyte = struct.pack(">Q", (1 << 56) | (1 << 30))
    name = b"\x45\xa3\x81T"  # TagName, then TagString: RFC 9559, 5.1.8.1.2.
    tag = b"\x73\x73" + gigabyte + b"\x67\xc8" + gigabyte + name + b"\x44\x87" + gigabyte + b"x"
    cluster = data.index(b"\x1f\x43\xb6\x75")
    path.write_bytes(data[:cluster] + b"\x12\x54\xc3\x67" + gigabyte + tag + data[cluster:])


def _avi_of_a_billion_frames(path: Path) -> None:
    """Both places of an AVI's header that count frames: avih and strh."""
    make_clip(path, picture=Picture(times=even_times(25), codec="mpeg4", b_frames=0,
                                    time_base=1 / _ONE_SECOND.rate))  # fmt: skip
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, 1_000_000_000)
    struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, 1_000_000_000)
    path.write_bytes(data)


def _four_hours(path: Path) -> None:
    change = with_matroska_duration if path.suffix == ".mkv" else with_stated_duration
    change(_clip(path), path, seconds=4 * 3600)


def _giant_jpeg(path: Path) -> None:
    """The frame says 30,000 x 30,000, and so does the header of the file."""
    frame = with_claimed_size(jpeg(numbered(1, 96, 72)), width=30000, height=30000)
    write_packets(path, [frame] * 4, codec="mjpeg", size=(96, 72))


_HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
_DASH = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011">'
    '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1000">'
    "<BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>\n"
)
_CONCAT = "ffconcat version 1.0\nfile '{}'\n"
_SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
_PLAYLISTS = {
    "playlist_file.m3u8": (_HLS.format(SECRET), "HLS that names a local file"),
    "playlist_address.m3u8": (_HLS.format(ADDRESS), "HLS that names an address"),
    "playlist_as.mp4": (_HLS.format(SECRET), "HLS by the name of a video"),
    "playlist_passwd.m3u8": (_HLS.format("file:///etc/passwd"), "HLS that names a system file"),
    "manifest_file.mpd": (_DASH.format(SECRET), "DASH that names a local file"),
    "manifest_address.mpd": (_DASH.format(ADDRESS), "DASH that names an address"),
    "list_file.ffconcat": (_CONCAT.format(SECRET), "a list that names a local file"),
    "list_address.ffconcat": (_CONCAT.format(ADDRESS), "a list that names an address"),
    "list_as.mp4": (_CONCAT.format(SECRET), "a list by the name of a video"),
    "session.sdp": (_SDP, "a session that opens a port"),
}
# Nothing ails these but their names.
_NAMES = {
    "two\nlines.mp4": "a name of two lines",
    'quote\'s "and" more.mp4': "quotes in the name",
    os.fsdecode(b"not \xff\xfe utf-8.mp4"): "a name that is not UTF-8",
    "-i.mp4": "a name that begins like an option",
    "--format=json.mp4": "a name that begins like a long option",
    "http:address.mp4": "a name like an address",
    "$(touch gone) `touch gone` ; touch gone.mp4": "a name that a shell would run",
    "%s %d {0} [bold]x[-bold].mp4": "a name with place holders and markup",
    "\x1b[31mred.mp4": "a name that recolours a terminal",
    "a" * 251 + ".mp4": "the longest name that a file may have",
}
HOSTILE = [
    _hostile("giant_header.mov", "JPEG of 30,000 x 30,000, in 2 kB", _giant_jpeg,
             ("failed", "partial"), needs_limits=True),
    _hostile("giant_header.gif", "GIF of 30,000 x 30,000, in 50 bytes",
             lambda path: path.write_bytes(gif_of(30000, 30000)), ("failed",)),
    _hostile("giant_skipped.h264", f"200 pictures of {GIANT} x {GIANT}, in 4 kB",
             lambda path: path.write_bytes(h264_of(GIANT, GIANT, n_skipped=200)),
             needs_limits=True),
    _hostile("bomb_png.mov", f"20 PNG of {GIANT} x {GIANT}: 5 GB in 5 MB",
             lambda path: write_packets(path, [png_of_zeros(GIANT, GIANT)] * 20, codec="png",
                                        size=(GIANT, GIANT)), needs_limits=True),
    _hostile("bomb_png_small.mov", "6 PNG of 8000 x 8000: 1 GB in 1 MB",
             lambda path: write_packets(path, [png_of_zeros(8000, 8000)] * 6, codec="png",
                                        size=(8000, 8000)), needs_limits=True),
    _hostile("bomb_gzip.mp4", "an archive by the name of a video: 1 GB of zeros in 1 MB",
             lambda path: path.write_bytes(
                 b"".join([gzip.compress(bytes(1 << 26), mtime=0)] * 16)), ("failed",)),
    _hostile("billion_frames.mp4", "the index says 1,000,000,000 frames",
             _movie(claim_a_billion_frames), needs_limits=True),
    _hostile("billion_frames.avi", "the header says 1,000,000,000 frames",
             _avi_of_a_billion_frames, ("ok", "partial"), duration_s=1.0),
    _hostile("four_hours.mp4", "the header says 4 hours, 1 s is there", _four_hours,
             ("ok", "partial"), duration_s=1.0),
    _hostile("four_hours.mkv", "the header says 4 hours, 1 s is there", _four_hours, ("ok",),
             duration_s=1.0),
    _hostile("gigabyte_tags.mp4", "a title says that it is a gigabyte long",
             _movie(claim_gigabyte_of_tags)),
    _hostile("gigabyte_tags.mkv", "a tag says that it is a gigabyte long",
             _gigabyte_of_matroska_tags),
    _hostile("gigabyte_tags.mp3", "an ID3 tag says that it is 256 MB long",
             _id3_of_256_megabytes),
    _hostile("data_elsewhere.mov", "says that its data is in another file", _data_elsewhere),
    _hostile("sequence_%03d.jpg", "a name that FFmpeg reads as many files", _image_sequence),
    *(_hostile(file, ails, _text(text), ("failed",))
      for file, (text, ails) in _PLAYLISTS.items()),
    *(_hostile(file, ails, _clip, ("ok",), duration_s=1.0) for file, ails in _NAMES.items()),
]  # fmt: skip
