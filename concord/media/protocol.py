"""What decides the proxies, the waves and the measurements."""

from typing import TYPE_CHECKING, Any

from concord.protocol import digest, protocol_id

if TYPE_CHECKING:
    from concord.config import Config

VERSION = 1
"""Raised whenever the code below concord/media/ changes its results; a test watches over it."""

GATE_KEYS = ("filter", "require", "silence_db")


def media_protocol(config: "Config", collection: str) -> dict[str, Any]:
    """Protocol of a collection's media as builtins; the gate is part of it only if it filters."""
    media = config.media
    protocol: dict[str, Any] = {
        "version": VERSION,
        "size_px": media.size_px,
        "fps": media.fps,
        "fit": media.fit,
        "encoder": media.encoder.model_dump(),
        "sample_rate_hz": media.sample_rate_hz,
        "max_pixels": media.max_pixels,
        "filter": config.filters(collection),
    }
    if protocol["filter"]:
        protocol["require"] = config.audio.require
        protocol["silence_db"] = config.audio.silence_db
    return protocol


def content_id(protocol: dict[str, Any]) -> str:
    """Short id of what decides proxies and waves: all but the gate's settings."""
    return protocol_id({key: value for key, value in protocol.items() if key not in GATE_KEYS})


def row_keys(plan_key: str, protocol: dict[str, Any]) -> tuple[str, str]:
    """The keys a clip's media row may have: transcoded, and kept from it by the gate.

    The gate's settings are part of neither, so that a changed threshold touches just the clips
    whose decision changes.
    """
    name = content_id(protocol)
    return digest(plan_key, name, "transcoded"), digest(plan_key, name, "filtered")
