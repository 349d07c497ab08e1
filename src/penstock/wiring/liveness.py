"""Processing's question about other nodes, answered from what the member agent of this machine tells its watchers.

It follows the agent from a thread of its own. While the agent is away nobody is held dead, so leases alone decide.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog
from typing_extensions import override

from penstock.processing.liveness import Liveness, SingleMachine

if TYPE_CHECKING:
    from penstock.membership.config import MembershipConfig
    from penstock.membership.views import Member
    from penstock.settings import Settings

AGAIN_SECONDS = (
    1.0  # between two attempts to follow: an agent that was restarted is there within a second or two
)

log = structlog.get_logger()


class WatchedLiveness(Liveness):
    """Follows the agent between :meth:`start` and :meth:`end`."""

    def __init__(self, config: "MembershipConfig") -> None:
        self._config = config
        self._told: list[Callable[[], None]] = []
        self._members: dict[str, Member] = {}
        self._dead: frozenset[str] = frozenset()
        self._following: bool | None = None  # None: not yet known
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="liveness", daemon=True)

    @override
    def dead(self) -> frozenset[str]:
        return self._dead

    @override
    def on_death(self, told: Callable[[], None]) -> None:
        self._told.append(told)

    def start(self) -> None:
        """Begins to follow."""
        self._thread.start()

    def end(self, timeout: float = 0.0) -> None:
        """Holds nobody dead any more. The thread ends with the agent's next word, for which this waits ``timeout`` seconds."""
        self._ending.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        from penstock.membership.errors import MembershipError

        while not self._ending.is_set():
            try:
                self._follow()
                reason = "the agent ended the connection"
            except MembershipError as error:
                reason = error.detail
            self._hold(())
            if self._following:
                log.warning("liveness_lost", detail=reason, consequence="leases alone tell who is alive")
                self._following = False
            self._ending.wait(AGAIN_SECONDS)

    def _follow(self) -> None:
        from penstock.membership.control_address import connect

        with connect(self._config) as client:
            for told in client.watch():
                if self._ending.is_set():
                    return
                if isinstance(told, list):
                    self._hold(told)
                    if not self._following:
                        log.info("liveness_followed", members=len(told))
                        self._following = True
                elif told.kind == "forgotten":
                    self._hold(member for member in self._members.values() if member.id != told.member.id)
                else:
                    self._hold([*self._members.values(), told.member])

    def _hold(self, members: Iterable["Member"]) -> None:
        """Takes over what is known now; a later word about a member replaces an earlier one."""
        self._members = {member.id: member for member in members}
        before, self._dead = self._dead, dead_names(self._members.values())
        died = self._dead - before
        if died:
            log.info("nodes_held_dead", nodes=sorted(died))
            for told in self._told:
                told()


@contextmanager
def followed(settings: "Settings") -> Iterator[Liveness]:
    """What processing is given: the agent's word where a cluster is configured."""
    if settings.cluster is None:
        yield SingleMachine()
        return
    liveness = WatchedLiveness(settings.membership)
    liveness.start()
    try:
        yield liveness
    finally:
        liveness.end()


def dead_names(members: Iterable["Member"]) -> frozenset[str]:
    """Names that a dead member has, and no living one.

    A machine that came back with a lost disk has a new id and its old name. Who left on purpose is not dead: its services
    may go on, and if they do not, they have handed their claims back.
    """
    known = list(members)
    living = {member.name for member in known if member.state in {"alive", "suspect"} or member.me}
    return frozenset(member.name for member in known if member.state == "dead") - living
