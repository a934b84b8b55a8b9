"""Clips: the plan files come from the parse (common.smk); this makes the demo's clips.

Needs: nothing. Leaves: <results>/demo/.
"""

from concord.mini import DEMO_VERSION


checkpoint make_demo:
    """Make the three demo collections and their prompts."""
    output:
        prompts="<results>/demo/prompts.json",
    log:
        "<results>/logs/make_demo.log",
    benchmark:
        "<results>/benchmarks/make_demo.tsv"
    conda:
        "../envs/media.yaml"
    threads: 8
    resources:
        mem_mb=lambda w, attempt: 2000 * attempt,
        runtime=lambda w, attempt: RESOURCES.capped(30, attempt),
    params:
        version=DEMO_VERSION,
    script:
        "../scripts/make_demo.py"
