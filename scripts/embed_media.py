"""Rule embed_media: embed the pictures or sounds of one shard."""

from pathlib import Path

from concord.load import load
from concord.logs import log_to
from concord.media.protocol import media_protocol
from concord.models.catalogue import spec
from concord.models.shard import embed_media

with log_to(snakemake.log[0]):
    config = load(snakemake.config)
    name = snakemake.wildcards.model
    embed_media(
        Path(snakemake.input.media),
        Path(snakemake.output.embeddings),
        spec(config, name),
        snakemake.wildcards.modality,
        batch_size=config.models[name].batch_size,
        workers=config.models[name].workers,
        media_protocol=media_protocol(config, snakemake.wildcards.collection),
    )
