"""Rule make_demo: render the demo's clips."""

from pathlib import Path

from concord.job import job
from concord.mini.demo import make_demo

with job(snakemake):
    make_demo(Path(snakemake.output.prompts).parent, workers=snakemake.threads)
