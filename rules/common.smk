"""What every rule needs when the workflow is parsed.

Needs: the configuration. Leaves: CONFIG, LAYOUT, SPECS and the plan files of the clips, which only
the main process writes.
"""

import re
from pathlib import Path

from snakemake.exceptions import WorkflowError

from concord import cluster, orphans, run
from concord.blocks import PATTERN
from concord.clips import plan as planning
from concord.errors import UserError, printable
from concord.layout import Layout
from concord.load import load, read_yaml
from concord.models import catalogue
from concord.notes import unmeasured
from concord.resources import JobResources
from concord.sweep import sweep

PLANNED = set()


def or_stop(function, *arguments):
    """The function's value; a user's mistake ends the run without a traceback."""
    try:
        return function(*arguments)
    except UserError as error:
        raise WorkflowError(printable(str(error))) from None


for file in workflow.configfiles:
    or_stop(read_yaml, Path(file))
CONFIG = or_stop(load, config)
or_stop(run.prepare_jobs, workflow, CONFIG.remote)
SPECS = {name: or_stop(catalogue.spec, CONFIG, name) for name in CONFIG.models}
LAYOUT = Layout(CONFIG, SPECS)
GPUS = run.count_gpus()
RESOURCES = JobResources(CONFIG, SPECS, LAYOUT, run.cores(workflow), GPUS)


pathvars:
    results=str(CONFIG.results),


wildcard_constraints:
    collection="|".join(map(re.escape, CONFIG.collections)),
    prompt_set="|".join(map(re.escape, CONFIG.prompts)) or "none",
    model="|".join(map(re.escape, [*CONFIG.models, "signal"])),
    shard=r"\d+",
    block=PATTERN,


def plan(collections):
    """Scan and check these collections, once a run, and write their plan files."""
    todo = {name: CONFIG.collections[name] for name in collections if name not in PLANNED}
    if todo and workflow.is_main_process:
        or_stop(planning.plan, CONFIG.model_copy(update={"collections": todo}))
        PLANNED.update(todo)


def planned(collection):
    """The collection's name, when its plan files are there; the demo's come with the demo."""
    if CONFIG.is_demo(collection):
        checkpoints.make_demo.get()
        plan([name for name in CONFIG.collections if CONFIG.is_demo(name)])
    return collection


def environment(wildcards):
    """The conda environment in which a model runs."""
    own = SPECS[wildcards.model].backend == "imagebind_package"
    return f"../envs/{'imagebind' if own else 'models'}.yaml"


def when_planned(function, *arguments):
    """The function's value, when the plan files of all collections are there."""
    for collection in CONFIG.collections:
        planned(collection)
    return function(*arguments)


if workflow.is_main_process:
    run.offer_resources(workflow, gpu=max(GPUS, 1), mem_mb=run.memory_mb())
    if workflow.output_settings.dryrun and run.is_locked(CONFIG.results):
        PLANNED.update(CONFIG.collections)  # by the run that is under way
    else:
        run.tell(or_stop(cluster.prepare, workflow, CONFIG.results))
        or_stop(run.lock_results, CONFIG.results)
    run.tell(unmeasured(CONFIG, SPECS))
    plan([name for name in CONFIG.collections if not CONFIG.is_demo(name)])
else:
    or_stop(orphans.join_run, CONFIG.results.resolve())
