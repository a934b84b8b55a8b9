"""What tells one version of a clip's files from another. Light to import."""

from concord.protocol import digest


def plan_key(
    clip_id: str,
    path: str,
    size: object,
    version: object,
    audio_path: str | None,
    audio_stamp: str | None,
) -> str:
    """The key of a clip in PLAN: it changes with its id and with each file's name or content.

    `version` is a local file's time of modification, an object's ETag; `audio_stamp` has size and
    version of a separate sound.
    """
    # No path contains a NUL, so the joined text says where each part ends.
    parts = (clip_id, path, size, version, audio_path, audio_stamp)
    return digest("\0".join(map(str, parts)))


def companion_key(
    modality: str, clip_id: str, path: str | None, stamp: str | None, reason: str | None
) -> str:
    """The key of a clip's file of a modality in COMPANION_FILES."""
    return digest("\0".join(map(str, (modality, clip_id, path, stamp, reason))))
