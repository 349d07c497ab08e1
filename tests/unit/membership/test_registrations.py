import json

import pytest

from penstock.membership.config import METADATA_LIMIT
from penstock.membership.errors import InvalidInput
from penstock.membership.registrations import Registrations


class Node:
    """What a node would state to others."""

    def __init__(self) -> None:
        self.stated: list[bytes] = []
        self.registrations = Registrations(self._state)

    def _state(self, data: bytes) -> None:
        if len(data) > METADATA_LIMIT:
            raise InvalidInput("too much")
        self.stated.append(data)

    @property
    def metadata(self) -> object:
        """The last statement."""
        return json.loads(self.stated[-1] or b"{}")


def test_no_registration_overwrites_another() -> None:
    """Each has its name; what the node says besides stands beside them."""
    node = Node()
    node.registrations.register("web", {"port": 1}, until=10)
    node.registrations.state({"rack": "r1"})
    node.registrations.register("processing", {"load": [0, 4]}, until=10)
    node.registrations.register("web", {"port": 2}, until=20)
    assert node.metadata == {
        "rack": "r1",
        "services": {"processing": {"load": [0, 4]}, "web": {"port": 2}},
    }


def test_what_is_not_registered_again_is_gone() -> None:
    """A program that was killed says nothing; its neighbour stays."""
    node = Node()
    node.registrations.register("web", {}, until=10)
    node.registrations.register("processing", {}, until=10)
    node.registrations.register("web", {}, until=20)
    node.registrations.expire(10)
    assert node.metadata == {"services": {"web": {}}}
    count = len(node.stated)
    node.registrations.expire(11)
    assert len(node.stated) == count


def test_taking_back_is_repeatable() -> None:
    """The second time there is nothing to take back, and nothing is stated."""
    node = Node()
    node.registrations.register("web", {"port": 1}, until=10)
    for _ in range(2):
        node.registrations.unregister("web")
    assert node.metadata == {}
    assert len(node.stated) == 2


def test_what_does_not_fit_changes_nothing() -> None:
    """A refused registration is not half there: the next one is stated without it."""
    node = Node()
    node.registrations.register("web", {}, until=10)
    with pytest.raises(InvalidInput):
        node.registrations.register("talkative", {"text": "x" * METADATA_LIMIT}, until=10)
    node.registrations.register("processing", {}, until=10)
    assert node.metadata == {"services": {"processing": {}, "web": {}}}


def test_the_registrations_are_not_stated_from_outside() -> None:
    """What all programs of the node say cannot be replaced by one of them."""
    node = Node()
    with pytest.raises(InvalidInput, match="/v1/services/"):
        node.registrations.state({"services": {}})
    assert not node.stated
