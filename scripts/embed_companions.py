"""Rule embed_companions: embed the files beside the clips of one block."""

from pathlib import Path

from concord.job import job
from concord.load import load
from concord.models.catalogue import spec
from concord.models.shard import Means, embed_companions

with job(snakemake):
    config = load(snakemake.config)
    name = snakemake.wildcards.model
    embed_companions(
        [Path(file) for file in snakemake.input.companions],
        Path(snakemake.output.embeddings),
        spec(config, name),
        snakemake.wildcards.modality,
        Means.of(config, name),
    )
