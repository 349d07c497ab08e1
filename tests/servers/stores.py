"""Fixtures of S3 servers; a ``conftest.py`` that wants them imports them by name. Each lasts for the run."""

from collections.abc import Iterator

import pytest

from tests.servers import s3
from tests.servers.s3 import S3Server


@pytest.fixture(scope="session")
def ministack() -> Iterator[S3Server]:
    """The server that verifies signatures."""
    with s3.running("ministack") as server:
        yield server


@pytest.fixture(scope="session")
def rclone() -> Iterator[S3Server]:
    """The gateway over a folder."""
    with s3.running("rclone") as server:
        yield server


@pytest.fixture(params=list(s3.KINDS))
def s3_server(request: pytest.FixtureRequest) -> S3Server:
    """Each of the servers in turn."""
    server: S3Server = request.getfixturevalue(request.param)
    return server
