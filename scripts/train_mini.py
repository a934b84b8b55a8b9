"""Rule train_mini: train the embedded default model."""

from pathlib import Path

from concord.logs import log_to
from concord.training.mini import train

with log_to(snakemake.log[0]):
    train(
        Path(snakemake.output.weights),
        metrics=Path(snakemake.output.metrics),
        seed=snakemake.params.seed,
        threads=snakemake.threads,
    )
