"""Rule train_mini: train the embedded default model."""

from pathlib import Path

from concord.job import job
from concord.training.mini import train

with job(snakemake):
    train(
        Path(snakemake.output.weights),
        metrics=Path(snakemake.output.metrics),
        seed=snakemake.params.seed,
        threads=snakemake.threads,
    )
