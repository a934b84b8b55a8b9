"""Rule drop_proxies: delete proxies and waves once everything is scored and shown."""

from pathlib import Path

from concord.job import job
from concord.media.shard import drop_proxies

with job(snakemake):
    for table in snakemake.input.media:
        drop_proxies(Path(table))
