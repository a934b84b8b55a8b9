"""With what the named models of open_clip and transformers are run, and where.

tests/entries runs every one (make test-entries); tests/unit compares the catalogue's `tried`.
"""

RANDOM = (
    "clip-vit-b-32",
    "clip-batch-script",
    "clip-vit-b-16",
    "clip-vit-l-14",
    "openclip-vit-b-32-laion2b",
    "openclip-vit-b-16-laion2b",
    "openclip-vit-l-14-laion2b",
    "openclip-vit-b-16-datacomp",
    "metaclip-vit-b-32",
)
"""Models of open_clip that are built at full size with random weights."""
SMALL = {
    "hf-clip-vit-b-32": "clip",
    "siglip2-base": "siglip",
    "siglip2-base-naflex": "siglip2",
    "chinese-clip-vit-b-16": "chinese_clip",
    "altclip": "altclip",
    "xclip-base-patch32": "xclip",
    "clap-htsat-fused": "clap_fused",
    "clap-htsat-unfused": "clap",
    "larger-clap-general": "clap",
    "pe-av-small": "pe_audio_video",
    "pe-av-base": "pe_audio_video",
    "pe-av-large": "pe_audio_video",
}
"""Models of transformers that run through the workflow, by the small random checkpoint of each."""
