"""Tables, exports and the page.

Needs: everything that was scored. Leaves: <results>/tables/, exports/, report/, provenance.json.
"""

from concord.feature_tables import ALL_FEATURES
from concord.models.base import COMPANIONS
from concord.report.versions import EXPORTS_VERSION, REPORT_VERSION, TABLES_VERSION

SOURCES = {"path", "prompts", "audio", *COMPANIONS}
EXPORTED = {"limit": True, "prompts": True, "collections": {"__all__": SOURCES}}
TABLES = ["summary", "comparisons", "status", "clips", "media", "scores", "retrieval"]
TABLES += list(ALL_FEATURES)


rule aggregate_tables:
    """Summarise, compare and list what is missing."""
    input:
        lambda w: when_planned(LAYOUT.everything),
    output:
        expand("<results>/tables/{table}.{kind}", table=TABLES, kind=["parquet", "csv"]),
        provenance="<results>/provenance.json",
    log:
        "<results>/logs/aggregate_tables.log",
    benchmark:
        "<results>/benchmarks/aggregate_tables.tsv"
    conda:
        "../envs/report.yaml"
    threads: 2
    resources:
        mem_mb=lambda w, attempt: RESOURCES.summary(attempt).mem_mb,
        runtime=lambda w, attempt: RESOURCES.summary(attempt).runtime,
    params:
        protocol=CONFIG.model_dump(mode="json", include={"statistics", "compare", "limit"})
        | {"version": TABLES_VERSION},
    script:
        "../scripts/aggregate_tables.py"


rule project_features:
    """Lay the features of one model and modality out in two dimensions."""
    input:
        lambda w: when_planned(LAYOUT.projection_inputs, w.model, w.modality),
    output:
        projections="<results>/projections/{model}/{modality}.parquet",
    log:
        "<results>/logs/project_features/{model}.{modality}.log",
    benchmark:
        "<results>/benchmarks/project_features/{model}.{modality}.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=lambda w, attempt: RESOURCES.projecting(w.model, CONFIG.collections, attempt).mem_mb,
        runtime=lambda w, attempt: RESOURCES.projecting(
            w.model, CONFIG.collections, attempt
        ).runtime,
    params:
        protocol=lambda w: LAYOUT.projection_parameters(w.modality),
    script:
        "../scripts/project_features.py"


rule export_formats:
    """Write the files that users of older scripts expect."""
    input:
        lambda w: when_planned(LAYOUT.exported),
    output:
        directory(expand("<results>/exports/{model}", model=CONFIG.models)),
        summary="<results>/exports/summary.json",
    log:
        "<results>/logs/export_formats.log",
    benchmark:
        "<results>/benchmarks/export_formats.tsv"
    conda:
        "../envs/report.yaml"
    resources:
        mem_mb=lambda w, input, attempt: (4000 + 4 * int(input.size_mb)) * attempt,
        runtime=lambda w, input, attempt: RESOURCES.reading(input.size_mb, attempt),
    params:
        protocol=CONFIG.model_dump(mode="json", include=EXPORTED) | {"version": EXPORTS_VERSION},
    script:
        "../scripts/export_formats.py"


rule render_report:
    """Write the page, with the clips it shows beside it."""
    input:
        rules.aggregate_tables.output.provenance,
        lambda w: when_planned(LAYOUT.shown),
        tables=expand("<results>/tables/{table}.parquet", table=TABLES),
    output:
        directory("<results>/report/media"),
        page="<results>/report/index.html",
    log:
        "<results>/logs/render_report.log",
    benchmark:
        "<results>/benchmarks/render_report.tsv"
    conda:
        "../envs/report.yaml"
    threads: 2
    resources:
        mem_mb=lambda w, input, attempt: (3000 + 4 * int(input.size_mb)) * attempt,
        runtime=lambda w, input, attempt: RESOURCES.reading(input.size_mb, attempt),
    params:
        protocol=CONFIG.report.model_dump() | {"version": REPORT_VERSION},
    script:
        "../scripts/render_report.py"


rule drop_proxies:
    """Delete proxies and waves once everything is scored and shown."""
    input:
        rules.export_formats.output,
        rules.render_report.output,
        lambda w: [mark for c in CONFIG.collections for mark in LAYOUT.tree_marks(planned(c))],
        media=lambda w: [t for name in CONFIG.collections for t in LAYOUT.media(planned(name))],
    output:
        mark=touch("<results>/media/.dropped"),
    log:
        "<results>/logs/drop_proxies.log",
    benchmark:
        "<results>/benchmarks/drop_proxies.tsv"
    conda:
        "../envs/media.yaml"
    resources:
        mem_mb=lambda w, attempt: 1000 * attempt,
        runtime=lambda w, attempt: RESOURCES.dropping_minutes(attempt),
    script:
        "../scripts/drop_proxies.py"


rule repack_shard:
    """Move one shard's proxies and waves into another container, once all has read them."""
    input:
        rules.export_formats.output,
        rules.render_report.output,
        lambda w: LAYOUT.tree_marks(planned(w.collection)),
        media="<results>/media/{collection}/{shard}/media.parquet",
    output:
        mark="<results>/media/{collection}/{shard}/.repacked.{container}",
    log:
        "<results>/logs/repack_shard/{collection}.{shard}.{container}.log",
    benchmark:
        "<results>/benchmarks/repack_shard/{collection}.{shard}.{container}.tsv"
    wildcard_constraints:
        container="files|tar",
    conda:
        "../envs/media.yaml"
    resources:
        mem_mb=lambda w, attempt: 1000 * attempt,
        runtime=lambda w, attempt: RESOURCES.moving_minutes(w.collection, w.shard, attempt),
    script:
        "../scripts/repack_shard.py"
