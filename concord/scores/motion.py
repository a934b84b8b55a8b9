"""When something moves: optical flow of a proxy, frame by frame."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from concord.media.file import MediaFile

Floats = npt.NDArray[np.float64]

SHORT_SIDE_PX = 80
"""The flow is computed on frames of this short side: a quarter of the time of 160 pixels."""
JOLT_PERCENTILE = 98
STILL = 1e-4
"""Mean flow below this, in short sides a frame, is a picture that stands still."""


@dataclass(frozen=True)
class Motion:
    """The motion of F frames; lengths in units of the frame's short side.

    speed [F] is the mean length of the flow that leads to a frame, a frame interval each; the
    first frame takes the second's value. jolt [F] is the 98th percentile over the picture of how
    much the flow changes at a frame: what starts, stops, turns or jumps there.
    """

    fps: float
    speed: Floats
    jolt: Floats

    @property
    def duration_s(self) -> float:
        return len(self.speed) / self.fps

    @property
    def still(self) -> bool:
        return not np.any(self.speed > STILL)


def read_motion(proxy: MediaFile) -> Motion:
    """Dense optical flow (Farnebäck, SCIA 2003) between neighbouring frames of a proxy.

    Parameters are AV-Align's; frames are grey, 80 pixels on the short side.
    Raises ValueError with `unreadable` or `too_short` (fewer than three frames).
    """
    import av

    speed: list[float] = []
    jolt: list[float] = []
    previous: npt.NDArray[np.float32] | None = None
    last: npt.NDArray[np.uint8] | None = None
    try:
        with av.open(proxy.source()) as container:
            fps = float(container.streams.video[0].average_rate or 0)
            for frame in _grey_frames(container):
                if last is not None:
                    flow = _farneback(last, frame) / min(frame.shape)
                    speed.append(float(_length(flow).mean()))
                    if previous is not None:
                        jolt.append(float(np.percentile(_length(flow - previous), JOLT_PERCENTILE)))
                    previous = flow
                last = frame
    except (av.FFmpegError, OSError, IndexError) as error:
        raise ValueError("unreadable", str(error)) from error
    if not jolt or not fps:
        raise ValueError("too_short")
    return Motion(fps, np.array([speed[0], *speed]), np.array([jolt[0], *jolt, jolt[-1]]))


def peak_times(motion: Motion) -> Floats:
    """Times in seconds [N] of the frames that move more than both neighbours (AV-Align)."""
    speed = motion.speed
    inner = (speed[1:-1] > speed[:-2]) & (speed[1:-1] > speed[2:])
    return (np.flatnonzero(inner) + 1) / motion.fps


def _grey_frames(container: Any) -> Iterator[npt.NDArray[np.uint8]]:
    """Grey frames [H, W], at most 80 pixels on the short side."""
    from av.video.reformatter import VideoReformatter

    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    scale = min(1.0, SHORT_SIDE_PX / min(stream.width, stream.height))
    size = {"width": round(stream.width * scale), "height": round(stream.height * scale)}
    scaler = VideoReformatter()  # one for all frames: to set it up takes longer than to scale
    for frame in container.decode(stream):
        grey = scaler.reformat(frame, **size, format="gray", interpolation="AREA")
        yield np.asarray(grey.to_ndarray(), np.uint8)


def _farneback(
    first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    """Optical flow [H, W, 2] in pixels."""
    import cv2

    cv2.setNumThreads(1)
    flow = cv2.calcOpticalFlowFarneback(
        first,
        second,
        None,  # type: ignore[call-overload]
        pyr_scale=0.5,
        levels=3,
        winsize=15,
        iterations=3,
        poly_n=5,
        poly_sigma=1.2,
        flags=0,
    )
    return np.asarray(flow, dtype=np.float32)


def _length(flow: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths: npt.NDArray[np.float32] = np.hypot(flow[..., 0], flow[..., 1])
    return lengths
