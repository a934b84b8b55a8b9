"""Concord: how well do video, audio and text agree?

Reads config.yaml (or the file of --configfile), plans which shards are new or changed, and leaves
tables, exports and a page in the results folder.
"""

from snakemake.utils import min_version

from concord import reporter, runs
from concord.report import cost

min_version("9.27")

if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/clips.smk"
include: "rules/media.smk"
include: "rules/embeddings.smk"
include: "rules/training.smk"
include: "rules/scores.smk"
include: "rules/report.smk"
include: "rules/publish.smk"


rule all:
    """Everything the configuration asks for."""
    default_target: True
    input:
        "<results>/tables/summary.parquet",
        rules.export_formats.output,
        rules.render_report.output,
        lambda w: [mark for c in CONFIG.collections for mark in LAYOUT.tree_marks(planned(c))],
        lambda w: [mark for c in CONFIG.collections for mark in LAYOUT.repacked_marks(planned(c))],
        [] if CONFIG.media.keep_proxies else "<results>/media/.dropped",
        rules.publish_results.output if CONFIG.publish else [],


onstart:
    reporter.start(LAYOUT)
    runs.begin(CONFIG, workflow)


onsuccess:
    sweep(CONFIG)
    run.show_results(CONFIG.results)
    cost.record(LAYOUT, success=True, cores=run.cores(workflow))
    runs.end(CONFIG, success=True)
    or_stop(run.publish_the_rest, CONFIG)


onerror:
    cost.record(LAYOUT, success=False, cores=run.cores(workflow))
    runs.end(CONFIG, success=False)
