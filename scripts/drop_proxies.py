"""Rule drop_proxies: delete proxies and waves once everything is scored and shown."""

from concord.load import load
from concord.media.shard import drop_proxies

from concord.logs import log_to

with log_to(snakemake.log[0]):
    drop_proxies(load(snakemake.config).results / "media")
