"""What the programs of one node state about themselves, put together into the node's one piece of metadata.

Each registers under a name of its own, so none overwrites another, and registers again before its time is over: what ends
without a word is gone by itself. It knows neither HTTP nor the protocol, and not what the statements mean.
"""

from collections.abc import Callable

from penstock.membership.errors import InvalidInput
from penstock.membership.views import MetadataObject, write_metadata

SERVICES = "services"  # the member of the metadata that holds the registrations, by name


class Registrations:
    """One per node. Changes are stated at once; a change that does not fit is refused and nothing is changed."""

    def __init__(self, state: Callable[[bytes], None]) -> None:
        """``state`` makes bytes the metadata of the node; it raises :class:`InvalidInput` where they are too many."""
        self._state = state
        self._own: MetadataObject = {}
        self._services: dict[str, MetadataObject] = {}
        self._until: dict[str, float] = {}

    def state(self, value: MetadataObject) -> None:
        """What the node says beside its registrations. Raises :class:`InvalidInput`."""
        if SERVICES in value:
            raise InvalidInput(
                f"'{SERVICES}' holds what programs register: use PUT /v1/services/NAME for each of them."
            )
        self._replace(value, self._services)

    def register(self, name: str, value: MetadataObject, *, until: float) -> None:
        """States ``value`` under ``name`` until the clock shows ``until``. Raises :class:`InvalidInput`."""
        self._replace(self._own, {**self._services, name: value})
        self._until[name] = until

    def unregister(self, name: str) -> None:
        """Takes a registration back, if there is one."""
        self._drop({name})

    def expire(self, now: float) -> None:
        """Takes back what was not registered again in time."""
        self._drop({name for name, until in self._until.items() if until <= now})

    def _drop(self, names: set[str]) -> None:
        if names & self._services.keys():
            self._replace(
                self._own, {name: value for name, value in self._services.items() if name not in names}
            )
        for name in names:
            self._until.pop(name, None)

    def _replace(self, own: MetadataObject, services: dict[str, MetadataObject]) -> None:
        held = {SERVICES: dict(sorted(services.items()))} if services else {}
        self._state(write_metadata({**own, **held}))
        self._own, self._services = own, services
