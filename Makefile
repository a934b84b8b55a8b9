# make demo: set up and run the main job on clips made here.   make test: set up and run the tests.
# Needs Python 3.11 or 3.12 and a network to the package registries.

SHELL := /bin/bash
.DEFAULT_GOAL := demo
.PHONY: env demo test test-slurm test-faults test-entries lint lock clean

CORES ?= $(shell nproc 2>/dev/null || echo 2)
LOCK := envs/requirements.lock
BIN := .venv/bin
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
# The first Python that fits; uv finds its own if there is none.
PYTHON := $(firstword $(foreach v,3.12 3.11,$(shell python$(v) -c 'import sys; print(sys.executable)' 2>/dev/null)) 3.12)

env: .venv/.ready
	@$(BIN)/python -m concord version

.uv/bin/uv:
	python3 -m venv .uv
	.uv/bin/pip install --quiet uv

.venv/.ready: $(LOCK) | $(filter .uv/bin/uv,$(UV))
	$(UV) venv --quiet --clear --python $(PYTHON) .venv
	VIRTUAL_ENV=.venv $(UV) pip sync --quiet --require-hashes --compile-bytecode $(LOCK)
	@touch $@

demo: env
	$(BIN)/snakemake --cores $(CORES)
	@echo
	@echo "The page: results/report/index.html    The tables: results/tables/"
	@echo "By hand:  source .venv/bin/activate && snakemake --cores $(CORES)    (--resources gpu=2 on two GPUs)"
	@echo "Your own clips: edit config.yaml, or write one with: python -m concord init FOLDER --prompts FILE"

test: env
	$(BIN)/python -m pytest -n $(CORES) --dist loadscope --no-loadscope-reorder

# On a SLURM of its own; needs Debian's packages slurmctld, slurmd, slurm-client, munge.
test-slurm: env
	$(BIN)/python -m pytest tests/slurm $(wildcard tests/faults/test_cluster*.py)

# Kills, full disks, damaged files, a wrong clock, growth over many runs and the like, on this
# machine: 20 to 40 minutes.
# What needs to mount a disk is skipped where this user may not.
test-faults: env
	$(BIN)/python -m pytest $(filter-out tests/faults/test_cluster%,$(wildcard tests/faults/test_*.py))

# Every named model of open_clip at full size with random weights, which takes some GB of memory and
# disk, and every one of transformers through the workflow from a small random checkpoint: 65 jobs.
# Also what a compiler makes of ImageBind. 17 minutes of one core in all.
test-entries: env
	$(BIN)/python -m pytest tests/entries

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/mypy concord
	$(BIN)/snakemake --lint

lock:
	$(UV) pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 \
	  --generate-hashes --no-header envs/requirements.in -o $(LOCK)

clean:
	rm -rf .venv .uv .snakemake
