"""Which server a command talks to, and with which key."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.client import Client
    from penstock.client.connection import Waiting


def connect(waiting: "Waiting | None" = None) -> "Client":
    """The client for the server that the settings name, else for the one that runs on the data folder, else the default.

    With ``waiting``, which tells a person of pauses, a server that goes away is waited for during a quarter of an hour.
    Raises :class:`penstock.video.errors.ConfigurationError` for settings that cannot be.
    """
    from penstock.client import Client
    from penstock.client.connection import Patience, silently
    from penstock.settings import ClientSettings, Settings

    settings, given = Settings.load(), ClientSettings()
    url = given.url or _running_on(settings.run_folder / "up.lock") or settings.address(settings.port)
    return Client(
        url,
        api_key=given.api_key or _read_key(settings.admin_key_file),
        patience=None if waiting is None else Patience(tries=35, longest=30),
        memory=given.memory,
        waiting=waiting or silently,
    )


def _running_on(lock: Path) -> str | None:
    """The address that a running ``up`` wrote into its lock file; a stale one is as good a guess as the default."""
    try:
        url = json.loads(lock.read_text()).get("url")
    except (OSError, ValueError, AttributeError):
        return None
    return url if isinstance(url, str) else None


def _read_key(path: Path) -> str | None:
    """Without a key some things can be seen all the same; the server says when it wants one."""
    try:
        return path.read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None
