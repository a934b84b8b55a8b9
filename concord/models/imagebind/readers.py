"""How each kind of file becomes what ImageBind's views are cut from; runs in decoder processes.

Proxies and originals are read alike: what differs is the file. A proxy of another size than 224 px
on its short side is resized, and a wave of another rate resampled.
"""

from concord.models.base import Modality, ModelSpec, Reader


def reader(spec: ModelSpec, modality: Modality) -> Reader:
    """The reader of a modality, for the spec's options `views` and `audio_mean`.

    Raises ValueError for text and for an unknown option.
    """
    if modality == "video":
        from concord.models.imagebind.video import VIDEO_READERS

        views = spec.options.get("views", "15view")
        if views not in VIDEO_READERS:
            raise ValueError(f"views {views!r}, expected one of {', '.join(VIDEO_READERS)}")
        return VIDEO_READERS[views]
    if modality == "audio":
        from concord.models.imagebind.audio import AudioReader

        return AudioReader(spec.options.get("audio_mean", "running"))
    from concord.models.imagebind import pictures

    files: dict[str, Reader] = {
        "image": pictures.read_image,
        "depth": pictures.read_map,
        "thermal": pictures.read_map,
        "imu": pictures.read_imu,
    }
    if modality not in files:
        raise ValueError(f"imagebind reads no files for {modality}")
    return files[modality]
