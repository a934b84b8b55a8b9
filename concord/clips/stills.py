"""Images among the clips: which belong to a video or a sound, and which are clips themselves."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from concord.clips.files import FOUND, stamps
from concord.clips.match import composed
from concord.clips.pairing import Pairs, Placed, pair_files, placed


def without_images(found: pa.Table) -> pa.Table:
    """FOUND with images as files that are no clips."""
    images = pc.indices_nonzero(pc.equal(found["kind"], "image")).to_pylist()
    return _refused(found, dict.fromkeys(images, "not_media"))


def join_images(found: pa.Table) -> pa.Table:
    """FOUND with images in the rows of the videos and sounds that they lie beside.

    They are paired as separate sounds are, by stem or by index. Another image of the same stem is
    no clip either; all others stay clips of their own.
    """
    images = placed(found, pc.equal(found["kind"], "image"))
    if not images:
        return found
    kinds = pc.is_in(found["kind"], value_set=pa.array(["video", "audio"]))
    media = placed(found, pc.and_(kinds, pc.is_null(found["home"])))
    given = found["image_path"].is_valid().to_pylist()
    pairs = pair_files([clip for clip in media if not given[clip.row]], images)
    joined = _refused(found, _beside_others(media, images, pairs))
    partner = pa.array([pairs.of.get(row) for row in range(len(found))], pa.int64())
    for name, values in (("image_path", found["path"]), ("image_stamp", stamps(found))):
        joined = _with(joined, name, pc.coalesce(found[name], values.take(partner)))
    taken = set(pairs.of.values())
    return joined.filter(pa.array([row not in taken for row in range(len(found))]))


def _beside_others(media: list[Placed], images: list[Placed], pairs: Pairs) -> dict[int, str]:
    """Why images that share their stem with a video or a sound are not its image, by row."""
    tied = {composed(clip.home): clip.row in pairs.tied for clip in media}
    return {
        image.row: "ambiguous" if tied[home] else "duplicate"
        for image in images
        if (home := composed(image.home)) in tied
    }


def _refused(found: pa.Table, reasons: Mapping[int, str]) -> pa.Table:
    """FOUND with some rows as files that are no clips."""
    reason = pa.array([reasons.get(row) for row in range(len(found))], pa.string())
    refused = pc.is_valid(reason)
    found = _with(found, "kind", pc.if_else(refused, "other", found["kind"]))
    found = _with(found, "status", pc.if_else(refused, "skipped", found["status"]))
    return _with(found, "reason", pc.coalesce(reason, found["reason"]))


def _with(found: pa.Table, name: str, values: pa.ChunkedArray) -> pa.Table:
    return found.set_column(FOUND.get_field_index(name), FOUND.field(name), values)
