"""Tables, exports and the page.

Needs: everything that was scored. Leaves: <results>/tables/, exports/, report/, provenance.json.
"""

TABLES = ["summary", "comparisons", "status", "clips", "media", "scores", "retrieval"]


def everything(wildcards):
    """Every stage table of every collection."""
    files = []
    for collection in CONFIG.collections:
        files += LAYOUT.everything(planned(collection))
    return sorted(set(map(str, files)))


rule aggregate_tables:
    """Summarise, compare and list what is missing."""
    input:
        everything,
    output:
        expand("<results>/tables/{table}.{kind}", table=TABLES, kind=["parquet", "csv"]),
        provenance="<results>/provenance.json",
    params:
        protocol=CONFIG.model_dump(mode="json", include={"statistics", "compare", "limit"}),
    log:
        "<results>/logs/aggregate_tables.log",
    benchmark:
        "<results>/benchmarks/aggregate_tables.tsv"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=60,
    conda:
        "../envs/report.yaml"
    script:
        "../scripts/aggregate_tables.py"


rule export_formats:
    """Write the files that users of older scripts expect."""
    input:
        "<results>/tables/summary.parquet",
    output:
        summary="<results>/exports/summary.json",
    log:
        "<results>/logs/export_formats.log",
    benchmark:
        "<results>/benchmarks/export_formats.tsv"
    resources:
        mem_mb=8000,
        runtime=60,
    conda:
        "../envs/report.yaml"
    script:
        "../scripts/export_formats.py"


rule render_report:
    """Write the page, with the clips it shows beside it."""
    input:
        "<results>/tables/summary.parquet",
    output:
        page="<results>/report/index.html",
    params:
        protocol=CONFIG.report.model_dump(),
    log:
        "<results>/logs/render_report.log",
    benchmark:
        "<results>/benchmarks/render_report.tsv"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    conda:
        "../envs/report.yaml"
    script:
        "../scripts/render_report.py"


rule drop_proxies:
    """Delete proxies and waves once everything is scored and shown."""
    input:
        "<results>/exports/summary.json",
        "<results>/report/index.html",
    output:
        mark=touch("<results>/media/.dropped"),
    log:
        "<results>/logs/drop_proxies.log",
    resources:
        mem_mb=500,
        runtime=30,
    conda:
        "../envs/media.yaml"
    script:
        "../scripts/drop_proxies.py"
