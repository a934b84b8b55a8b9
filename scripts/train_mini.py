"""Rule train_mini: train the embedded default model."""

from pathlib import Path

from concord.training.mini import train

from concord.logs import log_to

with log_to(snakemake.log[0]):
    train(
        Path(snakemake.output.weights),
        metrics=Path(snakemake.output.metrics),
        seed=snakemake.params.seed,
        threads=snakemake.threads,
    )
