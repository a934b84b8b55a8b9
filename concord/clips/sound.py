"""Separate sound files: which video each belongs to."""

import pyarrow as pa
import pyarrow.compute as pc

from concord.clips.pairing import Pairs, pair_files, placed


def pair_sounds(found: pa.Table) -> Pairs:
    """Give videos of FOUND their separate sound: from a folder of sound, else from beside them."""
    apart = pc.is_valid(found["home"])
    sounds = placed(found, pc.or_(pc.equal(found["kind"], "audio"), apart))
    if not sounds:
        return Pairs()
    silent = pc.and_(pc.invert(apart), pc.is_null(found["audio_path"]))
    return pair_files(placed(found, pc.and_(pc.equal(found["kind"], "video"), silent)), sounds)
