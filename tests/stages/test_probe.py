"""Probe: what is said of a good file, and of every kind of bad one."""

from __future__ import annotations

import hashlib
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media.clips import ClipLibrary
from media.damage import with_matroska_duration
from media.giants import gif_of
from media.make import Picture, even_times, make_clip
from media.streams import Part, together, tone_track

from sightsound.stages.decode import Decode
from sightsound.stages.errors import StageError
from sightsound.stages.frames import DecodeReport
from sightsound.stages.plan import Grid, Plan
from sightsound.stages.probe import Probe, content_id


def failure_of(path: Path) -> StageError:
    """The error that probing a bad file raises."""
    with pytest.raises(StageError) as caught:
        Probe()(str(path))
    assert caught.value.stage == "probe"
    assert str(path) in caught.value.message
    return caught.value


def test_both_streams_are_described(clips: ClipLibrary) -> None:
    info = Probe()(str(clips("both_mp4")))
    assert info.video is not None and info.audio is not None
    assert (info.video.codec, info.video.width, info.video.height) == ("h264", 96, 72)
    assert info.video.average_rate == 25
    assert info.video.claimed_frames == 200
    assert info.video.reorders
    assert (info.audio.codec, info.audio.sample_rate_hz, info.audio.channels) == ("aac", 48000, 2)
    assert info.claimed_duration_s == pytest.approx(8, abs=0.05)
    assert info.size_bytes == clips("both_mp4").stat().st_size


def test_a_picture_without_sound_has_no_audio(clips: ClipLibrary) -> None:
    info = Probe()(str(clips("h264_mp4")))
    assert info.video is not None and info.audio is None


def test_sound_without_a_picture_has_no_video(clips: ClipLibrary) -> None:
    info = Probe()(str(clips("sound_only_m4a")))
    assert info.video is None and info.audio is not None


def test_the_start_of_a_stream_is_kept(clips: ClipLibrary) -> None:
    video = Probe()(str(clips("h264_starts_late_mp4"))).video
    assert video is not None and video.start_pts is not None
    assert video.start_pts * video.time_base == 5


def test_pixels_that_are_not_square_are_noticed(tmp_path: Path) -> None:
    picture = Picture(times=even_times(3), pixel_aspect=Fraction(16, 11))
    video = Probe()(str(make_clip(tmp_path / "wide.mp4", picture=picture))).video
    assert video is not None
    assert video.pixel_aspect == Fraction(16, 11)


def test_unstated_pixel_aspect_means_square(clips: ClipLibrary) -> None:
    video = Probe()(str(clips("vp9_webm"))).video
    assert video is not None
    assert video.pixel_aspect == 1


def with_tracks(path: Path, *tracks: tuple[str, str]) -> Path:
    """A file with several tracks of sound, each of a language and a disposition.

    Track i is a tone of (i + 1) * 1000 Hz.
    """
    parts = [
        Part(sound=tone_track(number), language=language, disposition=disposition)
        for number, (language, disposition) in enumerate(tracks)
    ]
    return together(path, *parts)


def chosen(path: Path, audio_track: int | str | None = None) -> int:
    """The number of the track that is chosen among those of the file."""
    audio = Probe(audio_track=audio_track)(str(path)).audio
    assert audio is not None
    return audio.index


TRACKS = (("eng", ""), ("deu", "default"), ("fra", ""), ("deu", "comment"))


@pytest.mark.parametrize("number", range(3))
def test_of_several_tracks_the_default_one_is_taken(tmp_path: Path, number: int) -> None:
    tracks = [("eng", "default" if i == number else "") for i in range(3)]
    assert chosen(with_tracks(tmp_path / "tracks.mkv", *tracks)) == number


@pytest.mark.parametrize(
    ("wanted", "number"), [(None, 1), (0, 0), (2, 2), (3, 3), ("fra", 2), ("deu", 1), ("ENG", 0)]
)
def test_a_track_is_chosen_by_number_or_language(
    tmp_path: Path, wanted: int | str | None, number: int
) -> None:
    assert chosen(with_tracks(tmp_path / "tracks.mkv", *TRACKS), wanted) == number


def test_of_a_language_the_default_track_is_taken_first(tmp_path: Path) -> None:
    path = with_tracks(tmp_path / "tracks.mkv", ("deu", ""), ("eng", ""), ("deu", "default"))
    assert chosen(path, "deu") == 2


@pytest.mark.parametrize("wanted", [4, "spa"])
def test_a_track_that_is_not_there_is_named_with_those_that_are(
    tmp_path: Path, wanted: int | str
) -> None:
    path = with_tracks(tmp_path / "tracks.mkv", *TRACKS)
    with pytest.raises(StageError) as caught:
        Probe(audio_track=wanted)(str(path))
    assert caught.value.code == "no_track"
    assert caught.value.message == (
        f"{path} has no sound track {wanted}, only 0 (eng), 1 (deu), 2 (fra), 3 (deu): choose "
        "another streams.audio_track, or leave it unset for the default one."
    )


def test_a_track_of_a_file_without_sound_is_not_there(clips: ClipLibrary) -> None:
    with pytest.raises(StageError, match="no sound track 0, only none at all") as caught:
        Probe(audio_track=0)(str(clips("h264_mp4")))
    assert caught.value.code == "no_track"


def test_the_chosen_track_is_the_one_heard(tmp_path: Path) -> None:
    path = with_tracks(tmp_path / "tracks.mkv", *TRACKS)
    for number in range(len(TRACKS)):
        info = Probe(audio_track=number)(str(path))
        plan = Plan(Grid(fps=Fraction(2), length_s=8, hop_s=4), slice_s=300)(info)
        stage = Decode((), sample_rate_hz=16000)
        (block,) = stage(info, plan, plan.slices[0], report=DecodeReport())
        spectrum = np.abs(np.fft.rfft(block.samples[:16000]))
        assert spectrum.argmax() == 1000 * (number + 1)


def test_the_id_comes_from_the_content_alone(clips: ClipLibrary, tmp_path: Path) -> None:
    data = clips("h264_mp4").read_bytes()
    copy = tmp_path / "another name.mov"
    copy.write_bytes(data)
    expected = hashlib.sha256(data).hexdigest()[:32]
    assert Probe()(str(copy)).video_id == Probe()(str(clips("h264_mp4"))).video_id == expected


def test_the_id_changes_with_a_single_byte(clips: ClipLibrary, tmp_path: Path) -> None:
    data = bytearray(clips("h264_mp4").read_bytes())
    data[-1] ^= 1
    copy = tmp_path / "changed.mp4"
    copy.write_bytes(data)
    assert content_id(str(copy)) != content_id(str(clips("h264_mp4")))


def test_a_header_with_an_absurd_duration_is_still_described(
    clips: ClipLibrary, tmp_path: Path
) -> None:
    path = with_matroska_duration(clips("both_mkv"), tmp_path / "liar.mkv", seconds=143165)
    info = Probe()(str(path))
    assert info.claimed_duration_s == 143165
    assert info.video is not None and info.audio is not None


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    error = failure_of(tmp_path / "nowhere.mp4")
    assert error.code == "not_found"
    assert error.message.endswith("does not exist: check the path.")


def test_a_folder_is_no_video(tmp_path: Path) -> None:
    error = failure_of(tmp_path)
    assert error.code == "is_directory"
    assert error.message.endswith(f"name the files in it, such as {tmp_path}/*.mp4.")


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    error = failure_of(path)
    assert error.code == "empty_file"
    assert error.message.endswith("is empty (0 bytes): check that its copy finished.")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_not_readable(clips: ClipLibrary, tmp_path: Path) -> None:
    path = tmp_path / "secret.mp4"
    path.write_bytes(clips("h264_mp4").read_bytes())
    path.chmod(0)
    error = failure_of(path)
    assert error.code == "not_readable"
    assert error.message.endswith("(Permission denied): check its permissions.")


def test_text_named_mp4_is_not_media(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("These are only words.\n" * 100)
    error = failure_of(path)
    assert error.code == "not_media"
    assert error.message.endswith(
        "is not a media file that FFmpeg can open (Invalid data found when processing input): "
        "check that it is a video or sound file and complete."
    )


def test_an_mp4_that_lost_its_header_is_not_media(clips: ClipLibrary, tmp_path: Path) -> None:
    path = tmp_path / "unfinished.mp4"
    path.write_bytes(clips("both_header_last_mp4").read_bytes()[:20_000])
    assert failure_of(path).code == "not_media"


def test_subtitles_alone_are_no_stream_to_label(tmp_path: Path) -> None:
    path = tmp_path / "words.srt"
    path.write_text("1\n00:00:00,000 --> 00:00:02,000\nHello.\n\n")
    error = failure_of(path)
    assert error.code == "no_stream"
    assert error.message.endswith(
        "holds only subtitle, neither picture nor sound: there is nothing to label."
    )


def test_a_codec_without_decoder_is_named_as_the_reason(clips: ClipLibrary, tmp_path: Path) -> None:
    """The sound's sample entry in MP4 says AC-4, which FFmpeg can tell but not decode."""
    path = tmp_path / "ac4.m4a"
    data = clips("sound_only_m4a").read_bytes()
    assert data.count(b"mp4a") == 1 and data.count(b"esds") == 1
    path.write_bytes(data.replace(b"mp4a", b"ac-4").replace(b"esds", b"free"))
    error = failure_of(path)
    assert error.code == "no_decoder"
    assert error.message.endswith(
        "holds audio in a codec that this FFmpeg has no decoder for: convert it, for example to "
        "H.264 and AAC."
    )


def test_a_picture_that_ffmpeg_finds_too_large_is_said_to_be(tmp_path: Path) -> None:
    path = tmp_path / "giant.gif"
    path.write_bytes(gif_of(30000, 20000))
    error = failure_of(path)
    assert error.code == "too_large"
    assert error.message == (
        f"{path} has pictures of 30000x20000, more than FFmpeg can decode: scale it down."
    )


def test_a_real_file_in_an_undecodable_codec_is_refused(shared_media: Path) -> None:
    path = shared_media / "edge" / "exoplayer__sample_mpegh_mhm1.mp4"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in {shared_media}")
    assert failure_of(path).code == "no_decoder"
