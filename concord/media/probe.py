"""What is in a file: streams, sizes, starts. Runs in a worker process, which may crash."""

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
"""Packets read in search of the first frame and of the streams' starts."""


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
        video = _choose([s for s in container.streams.video if not _is_still(s)])
        audio = _choose(container.streams.audio)
        starts, frame = _first_packets(container, video, audio, max_pixels)
        return Probe(
            " ".join(f"{s.index}:{s.type}:{_codec(s)}" for s in container.streams),
            (container.start_time or 0) / av.time_base,
            _picture(video, frame, starts) if video else None,
            _sound(audio, starts) if audio else None,
        )


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


def _first_packets(
    container: Any, video: Any, audio: Any, max_pixels: int
) -> tuple[dict[int, float | None], Any]:
    """Start in seconds of each stream, None if it begins without timestamps; the first frame."""
    chosen = [s for s in (video, audio) if s and s.codec_context]
    starts: dict[int, float | None] = {
        s.index: float(s.start_time * s.time_base) for s in chosen if s.start_time is not None
    }
    wants_frame = bool(video and video.codec_context and 0 < _pixels(video) <= max_pixels)
    if wants_frame:
        video.codec_context.thread_count = 1
    frame = None
    for count, packet in enumerate(container.demux(chosen) if chosen else ()):
        if packet.stream.index not in starts:
            timed = packet.pts is not None
            starts[packet.stream.index] = float(packet.pts * packet.time_base) if timed else None
        if wants_frame and frame is None and packet.stream is video:
            frame = _decode(packet)
        found = (frame or not wants_frame) and len(starts) == len(chosen)
        if found or count >= FIRST_FRAME_PACKETS:
            break
    return starts, frame


def _decode(packet: Any) -> Any:
    import av

    try:
        return next(iter(packet.decode()), None)
    except av.FFmpegError:
        return None


def _pixels(stream: Any) -> int:
    return int(stream.width) * int(stream.height)


def _picture(stream: Any, frame: Any, starts: dict[int, float | None]) -> Picture:
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
        start_s=starts.get(stream.index),
        has_alpha=bool(pixels) and any(c.is_alpha for c in pixels.components),
    )


def _sound(stream: Any, starts: dict[int, float | None]) -> Sound:
    context = stream.codec_context
    return Sound(
        index=stream.index,
        codec=_codec(stream),
        sample_rate_hz=(context and stream.sample_rate) or 0,
        channels=(context and stream.channels) or 0,
        start_s=starts.get(stream.index),
    )


def _codec(stream: Any) -> str:
    context = stream.codec_context
    return context.codec.canonical_name if context else "unknown"
