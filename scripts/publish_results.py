"""Rule publish_results: upload what a run leaves."""

from concord.job import job
from concord.load import load
from concord.remote.publish import publish

with job(snakemake):
    publish(load(snakemake.config))
