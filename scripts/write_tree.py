"""Rule write_tree: proxies with sound under the clips' own paths."""

from pathlib import Path

from concord.job import job
from concord.load import load
from concord.media.protocol import media_protocol
from concord.media.tree import write_tree

with job(snakemake):
    config = load(snakemake.config)
    mark = Path(snakemake.output.mark)
    write_tree(
        Path(snakemake.input.media),
        mark.parent,
        snakemake.params.unusual,
        protocol=media_protocol(config, snakemake.wildcards.collection),
        workers=snakemake.threads,
        timeout_s=config.media.timeout_s,
        memory_mb=config.media.memory_mb,
    )
    mark.touch()
