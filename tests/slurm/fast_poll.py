"""Snakemake with a constant second between two looks at the jobs of SLURM; for tests only.

The executor waits 20 s before the first look and 10 s longer after each that saw no job end.
"""

import asyncio
import sys

import snakemake_executor_plugin_slurm as plugin
from snakemake.cli import main


async def _sleep(self: plugin.Executor) -> None:
    await asyncio.sleep(1)


plugin.Executor.sleep = _sleep

if __name__ == "__main__":
    main(sys.argv[1:])
