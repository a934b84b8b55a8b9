"""Publishing: what a run leaves, uploaded to the address in `publish`.

Needs: tables, exports and page. Leaves: objects below that address, and <results>/publish/ with the
list of them. What the end of a run adds (cost, provenance) the main process uploads after it.
"""

PUBLISHED = CONFIG.publish.model_dump(mode="json") if CONFIG.publish else {}


rule publish_results:
    """Upload what changed; what was interrupted is repeated by the next run."""
    input:
        rules.aggregate_tables.output,
        rules.export_formats.output,
        rules.render_report.output,
    output:
        mark="<results>/publish/done.json",
    log:
        "<results>/logs/publish_results.log",
    benchmark:
        "<results>/benchmarks/publish_results.tsv"
    localrule: True
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=lambda w, attempt: 1000 * attempt,
        runtime=lambda w, attempt: RESOURCES.capped(240, attempt),
    params:
        protocol=PUBLISHED,
    script:
        "../scripts/publish_results.py"
