"""Rule embed_companions: embed the files beside the clips of one shard."""

from pathlib import Path

from concord.load import load
from concord.logs import log_to
from concord.models.catalogue import spec
from concord.models.shard import Means, embed_companions

with log_to(snakemake.log[0]):
    config = load(snakemake.config)
    name = snakemake.wildcards.model
    embed_companions(
        Path(snakemake.input.companions),
        Path(snakemake.output.embeddings),
        spec(config, name),
        snakemake.wildcards.modality,
        Means.of(config, name),
    )
