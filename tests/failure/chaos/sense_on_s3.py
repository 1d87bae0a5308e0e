"""`sense` whose embedded stack keeps its objects in the S3 server that CHAOS_S3 names, in place of a folder."""

import os

from services.cli.app import main
from services.cli.stack.layout import StackFile
from tests.support.s3_server import S3Server

of_a_folder = StackFile.environment


def on_s3(stack: StackFile) -> dict[str, str]:
    """The stack's own environment with another store."""
    return {**of_a_folder(stack), **s3_environment(os.environ["CHAOS_S3"])}


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
    main()
