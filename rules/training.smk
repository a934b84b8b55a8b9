"""Training: the embedded default model.

Needs: nothing; the clips are made as they are needed. Leaves: <results>/training/mini/.
"""

from concord.training import MINI_VERSION


rule train_mini:
    """Train concord-mini anew, as the shipped weights were."""
    output:
        weights="<results>/training/mini/mini.safetensors",
        metrics="<results>/training/mini/metrics.csv",
    log:
        "<results>/logs/train_mini.log",
    benchmark:
        "<results>/benchmarks/train_mini.tsv"
    conda:
        "../envs/models.yaml"
    threads: run.cores(workflow) or 8
    resources:
        mem_mb=lambda w, attempt: 8000 * attempt,
        runtime=lambda w, attempt: RESOURCES.capped(120, attempt),
    params:
        seed=0,
        version=MINI_VERSION,
    script:
        "../scripts/train_mini.py"
