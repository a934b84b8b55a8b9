"""Rule make_demo: render the demo's clips."""

from pathlib import Path

from concord.logs import log_to
from concord.mini.demo import make_demo

with log_to(snakemake.log[0]):
    make_demo(Path(snakemake.output.prompts).parent, workers=snakemake.threads)
