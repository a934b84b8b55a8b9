"""What is in a file: streams, sizes, starts. Runs in a worker process, which may crash."""

import itertools
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

DEMUXERS = (
    "aac ac3 aiff amr ape apng asf au avi caf dts dv eac3 flac flv gif gxf h263 h264 hevc ivf "
    "jpeg_pipe loas m4v matroska mjpeg mov mp3 mpeg mpegts mpegvideo mxf nut obu ogg png_pipe rm "
    "tta truehd vc1 w64 wav webp_pipe wtv wv yuv4mpegpipe"
).replace(" ", ",")
"""Formats that hold their own content; none of them makes the library open another file."""

OPEN_OPTIONS = {"protocol_whitelist": "file,pipe", "format_whitelist": DEMUXERS}

FIRST_FRAME_PACKETS = 256
"""Packets read in search of the first frame."""


@dataclass(frozen=True)
class Picture:
    """The chosen picture stream; sizes in stored pixels, before rotation."""

    index: int
    codec: str
    width: int
    height: int
    sample_aspect: float
    rotation: int
    fps: float | None
    start_s: float | None
    has_alpha: bool


@dataclass(frozen=True)
class Sound:
    """The chosen sound stream."""

    index: int
    codec: str
    sample_rate_hz: int
    channels: int
    start_s: float | None


@dataclass(frozen=True)
class Probe:
    """A file's streams, and which of them are used."""

    streams: str
    start_s: float
    picture: Picture | None
    sound: Sound | None


def probe(path: Path, max_pixels: int) -> Probe:
    """Open a file and choose its streams: those marked default before others, then the first.

    Covers and thumbnails are not pictures. The first frame is decoded for its true size and
    rotation unless the header announces more than `max_pixels`.
    Raises av.FFmpegError if nothing can be read.
    """
    import av

    with av.open(str(path), options=OPEN_OPTIONS, metadata_errors="replace") as container:
        video, audio = choose_streams(container)
        frame = _first_frame(container, video, max_pixels)
        return Probe(
            " ".join(f"{s.index}:{s.type}:{_codec(s)}" for s in container.streams),
            (container.start_time or 0) / av.time_base,
            _picture(video, frame) if video else None,
            _sound(audio) if audio else None,
        )


def choose_streams(container: Any) -> tuple[Any, Any]:
    """The picture and the sound to use of an open file; None where there is none."""
    pictures = [stream for stream in container.streams.video if not _is_still(stream)]
    return _choose(pictures), _choose(container.streams.audio)


def _is_still(stream: Any) -> bool:
    from av.stream import Disposition

    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    return bool(stream.disposition & covers)


def _choose(streams: Any) -> Any:
    from av.stream import Disposition

    def rank(stream: Any) -> tuple[bool, bool, int]:
        unknown = stream.codec_context is None
        return unknown, not stream.disposition & Disposition.default, stream.index

    return min(streams, key=rank, default=None)


def _first_frame(container: Any, video: Any, max_pixels: int) -> Any:
    """The first frame that decodes; None if there is none or it might be too large."""
    if not video or not video.codec_context or not 0 < video.width * video.height <= max_pixels:
        return None
    video.codec_context.thread_count = 1
    packets = itertools.islice(container.demux(video), FIRST_FRAME_PACKETS)
    return next((frame for packet in packets if (frame := _decode(packet))), None)


def _decode(packet: Any) -> Any:
    import av

    try:
        return next(iter(packet.decode()), None)
    except MemoryError:
        raise
    except av.FFmpegError:
        return None


def _start_s(stream: Any) -> float | None:
    if stream.start_time is None or not stream.time_base:
        return None
    return float(stream.start_time * stream.time_base)


def _picture(stream: Any, frame: Any) -> Picture:
    context = stream.codec_context
    pixels = frame.format if frame else context and stream.format
    return Picture(
        index=stream.index,
        codec=_codec(stream),
        width=frame.width if frame else (context and stream.width) or 0,
        height=frame.height if frame else (context and stream.height) or 0,
        sample_aspect=float(stream.sample_aspect_ratio or Fraction(1)) if context else 1.0,
        rotation=-round(frame.rotation) % 360 if frame else 0,
        fps=float(stream.average_rate) if context and stream.average_rate else None,
        start_s=_start_s(stream),
        has_alpha=bool(pixels) and any(c.is_alpha for c in pixels.components),
    )


def _sound(stream: Any) -> Sound:
    context = stream.codec_context
    return Sound(
        index=stream.index,
        codec=_codec(stream),
        sample_rate_hz=(context and stream.sample_rate) or 0,
        channels=(context and stream.channels) or 0,
        start_s=_start_s(stream),
    )


def _codec(stream: Any) -> str:
    context = stream.codec_context
    return context.codec.canonical_name if context else "unknown"
