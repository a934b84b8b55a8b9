"""Rule drop_proxies: delete proxies and waves once everything is scored and shown."""

from pathlib import Path

from concord.logs import log_to
from concord.media.shard import drop_proxies

with log_to(snakemake.log[0]):
    for table in snakemake.input.media:
        drop_proxies(Path(table))
