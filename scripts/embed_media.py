"""Rule embed_media: embed the pictures or sounds of one block."""

from pathlib import Path

from concord.job import job
from concord.load import load
from concord.media.protocol import media_protocol
from concord.models.catalogue import spec
from concord.models.shard import Means, embed_media

with job(snakemake):
    config = load(snakemake.config)
    name = snakemake.wildcards.model
    embed_media(
        [Path(file) for file in snakemake.input.media],
        Path(snakemake.output.embeddings),
        spec(config, name),
        snakemake.wildcards.modality,
        Means.of(config, name),
        media_protocol(config, snakemake.wildcards.collection),
    )
