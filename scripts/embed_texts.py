"""Rule embed_texts: embed the prompts of one block."""

from pathlib import Path

from concord.job import job
from concord.load import load
from concord.models.catalogue import spec
from concord.models.shard import Means, embed_texts

with job(snakemake):
    config = load(snakemake.config)
    name = snakemake.wildcards.model
    embed_texts(
        [Path(file) for file in snakemake.input.texts],
        Path(snakemake.output.embeddings),
        spec(config, name),
        Means.of(config, name),
    )
