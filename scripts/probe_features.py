"""Rule probe_features: learn labels from features."""

from pathlib import Path

from concord.job import job
from concord.layout import Layout
from concord.load import load
from concord.models.catalogue import spec
from concord.scores.probes import probe
from concord.scores.sources import labelling

with job(snakemake):
    config, wildcards = load(snakemake.config), snakemake.wildcards
    layout = Layout(config, {name: spec(config, name) for name in config.models})
    probe(
        Path(snakemake.output.probes).parent,
        scope=wildcards.scope,
        model=wildcards.model,
        modality=wildcards.modality,
        sources=layout.probe_sources(wildcards.model, wildcards.modality, wildcards.scope),
        labelling=labelling(config, wildcards.scope),
        probes=config.probes.model_dump(),
        audio=config.audio.model_dump(),
        statistics=config.statistics.model_dump(),
        threads=snakemake.threads,
    )
