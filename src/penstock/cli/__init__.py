"""The command line. It speaks only HTTP to a server, but for starting one, ``doctor``, ``plan`` and ``verify``."""

from penstock.cli.app import app, main

__all__ = ["app", "main"]
