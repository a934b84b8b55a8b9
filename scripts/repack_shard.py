"""Rule repack_shard: move the proxies and waves of one shard into another container."""

from pathlib import Path

from concord.job import job
from concord.media.shard import repack_shard

with job(snakemake):
    repack_shard(Path(snakemake.input.media), snakemake.wildcards.container)
    mark = Path(snakemake.output.mark)
    for other in mark.parent.glob(".repacked.*"):
        other.unlink()
    mark.touch()
