"""Rule embed_texts: embed the prompts of one shard."""

from pathlib import Path

from concord.load import load
from concord.logs import log_to
from concord.models.catalogue import spec
from concord.models.shard import Means, embed_texts

with log_to(snakemake.log[0]):
    config = load(snakemake.config)
    name = snakemake.wildcards.model
    embed_texts(
        Path(snakemake.input.texts),
        Path(snakemake.output.embeddings),
        spec(config, name),
        Means.of(config, name),
    )
