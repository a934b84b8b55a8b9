"""How the settings of storages reach every process. Light to import."""

import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concord.config_data import Remote

ENVIRONMENT = "CONCORD_REMOTE"
"""The section `remote`, for this process and for workers, decoders and jobs that it starts."""


def use(remote: "Remote") -> None:
    """Let this process, and those it starts, reach storages as the section says.

    Like credentials, the settings travel in the environment, through all kinds of processes.
    """
    os.environ[ENVIRONMENT] = remote.model_dump_json(exclude={"manifests"})


def ahead() -> int:
    """Objects that a job fetches ahead of those it works on."""
    settings = os.environ.get(ENVIRONMENT)
    if settings:
        return int(json.loads(settings)["ahead"])
    from concord.config_data import Remote

    return Remote().ahead
