"""Rule embed_media: embed the pictures or sounds of one shard."""

from pathlib import Path

from concord.load import load
from concord.logs import log_to
from concord.media.protocol import media_protocol
from concord.models.catalogue import spec
from concord.models.shard import Means, embed_media

with log_to(snakemake.log[0]):
    config = load(snakemake.config)
    name = snakemake.wildcards.model
    embed_media(
        Path(snakemake.input.media),
        Path(snakemake.output.embeddings),
        spec(config, name),
        snakemake.wildcards.modality,
        Means.of(config, name),
        media_protocol(config, snakemake.wildcards.collection),
    )
