"""`sense` whose embedded stack keeps its objects in the S3 server that CHAOS_S3 names, in place of a folder.

Programs that take no part in the jobs are left out: starting them costs two cores several seconds.
"""

import os

from services.cli.app import main
from services.cli.stack import config, manager
from services.cli.stack.config import StackFile
from tests.support.s3_server import S3Server

LEFT_OUT = ("flower", "worker-training")
of_a_folder, everything, all_unready = StackFile.environment, config.all_programs, manager.unready


def on_s3(stack: StackFile) -> dict[str, str]:
    """The stack's own environment with another store."""
    return {**of_a_folder(stack), **s3_environment(os.environ["CHAOS_S3"])}


def needed(stack: StackFile) -> list[config.Program]:
    """What the stack starts."""
    return [one for one in everything(stack) if one.name not in LEFT_OUT]


def unready(stack: StackFile) -> list[str]:
    """What it waits for."""
    return [name for name in all_unready(stack) if name not in LEFT_OUT]


def s3_environment(endpoint: str) -> dict[str, str]:
    """What a process is told to reach the test server, or the proxy before it."""
    return {
        "SENSE_STORE_KIND": "minio",
        "SENSE_STORE_ENDPOINT": endpoint,
        "SENSE_STORE_ACCESS_KEY": S3Server.access_key,
        "SENSE_STORE_SECRET_KEY": S3Server.secret_key,
    }


if __name__ == "__main__":
    StackFile.environment = on_s3  # type: ignore[method-assign]
    config.all_programs, manager.unready = needed, unready
    main()
