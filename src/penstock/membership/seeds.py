"""Seeds: where to ask when nobody is known. Texts and DNS names become addresses here."""

import asyncio
import socket
from collections.abc import Iterable
from pathlib import Path

import structlog

from penstock.membership.errors import InvalidInput
from penstock.membership.members import Address

DEFAULT_PORT = 7946

log = structlog.get_logger()


def parse(text: str, default_port: int = DEFAULT_PORT) -> Address:
    """``HOST``, ``HOST:PORT`` or ``[IPv6]:PORT``. Raises :class:`InvalidInput`."""
    host, port = text.strip(), str(default_port)
    if host.startswith("["):
        host, _, rest = host[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise InvalidInput(f"'{text}' is no address; expected HOST, HOST:PORT or [IPv6]:PORT.")
    return Address(host, int(port))


def split(texts: str) -> list[str]:
    """Seeds separated by commas or blanks."""
    return texts.replace(",", " ").split()


async def resolve(texts: Iterable[str]) -> list[Address]:
    """All addresses of all seeds; a name that cannot be resolved now is skipped, since it is asked again later."""
    loop = asyncio.get_running_loop()
    found: dict[Address, None] = {}
    for text in texts:
        host, port = parse(text)
        try:
            answers = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except OSError as error:
            log.warning("seed_unresolved", seed=text, detail=str(error))
            continue
        found.update(dict.fromkeys(Address(str(answer[4][0]), port) for answer in answers))
    return list(found)


def read_file(path: Path) -> list[str]:
    """One seed per line; what follows a ``#`` is a comment. Nothing where the file is missing, as it may appear later."""
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        log.warning("seeds_file_unreadable", path=path.name, detail=error.strerror)
        return []
    return [seed for line in lines if (seed := line.partition("#")[0].strip())]


def route_to(seed: Address | None) -> str:
    """The address of this machine from which ``seed``, or else the default gateway, is reached. Sends nothing."""
    target = seed or Address(
        "192.0.2.1", 9
    )  # reserved for documentation (RFC 5737): only the route is asked for
    family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(target)
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
