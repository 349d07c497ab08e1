from pathlib import Path

import msgspec
import pytest

from penstock.membership.errors import StateUnreadable
from penstock.membership.precedence import State
from penstock.membership.state import NodeState
from tests.unit.membership.puppet import node_id, record


def test_the_identity_stays_and_the_epoch_rises(tmp_path: Path) -> None:
    """Each start has the same id and a greater epoch."""
    seen = []
    for _ in range(3):
        state = NodeState(tmp_path)
        state.begin()
        seen.append((state.node, state.epoch))
        state.close()
    assert len({node for node, _ in seen}) == 1
    assert seen[0][1] < seen[1][1] < seen[2][1]


def test_the_epoch_rises_even_after_an_older_disk_was_restored(tmp_path: Path) -> None:
    """It is at least the time, so a copy of last week's disk does not repeat last week's epochs."""
    state = NodeState(tmp_path)
    state.begin()
    epoch = state.epoch
    state.close()
    content = msgspec.json.decode((tmp_path / "identity.json").read_bytes())
    (tmp_path / "identity.json").write_bytes(msgspec.json.encode({**content, "epoch": 5}))
    state = NodeState(tmp_path)
    state.begin()
    assert state.epoch >= epoch
    state.close()


def test_a_raised_epoch_is_kept(tmp_path: Path) -> None:
    """An epoch that others knew of, far ahead, is surpassed by the next start."""
    state = NodeState(tmp_path)
    state.begin()
    state.keep_epoch(2**39)
    state.close()
    state = NodeState(tmp_path)
    state.begin()
    assert state.epoch == 2**39 + 1
    state.close()


def test_what_was_known_is_known_again(tmp_path: Path) -> None:
    """The dead included: after a total outage they are all there is. Who was suspected gets a new chance."""
    state = NodeState(tmp_path)
    state.begin()
    states = [State.ALIVE, State.SUSPECT, State.DEAD, State.LEFT]
    state.save([record(number, state=held, data=b"x") for number, held in enumerate(states, 1)], 100.0)
    known = {held.node: held for held in state.known(7.0)}
    assert [known[node_id(number)].state for number in (1, 2, 3, 4)] == [
        State.ALIVE,
        State.ALIVE,
        State.DEAD,
        State.LEFT,
    ]
    assert known[node_id(1)].metadata.data == b"x"
    assert -94.0 < known[node_id(3)].since <= -93.0
    state.close()


def test_a_node_does_not_know_itself_from_disk(tmp_path: Path) -> None:
    """Its own record is made anew at each start."""
    state = NodeState(tmp_path)
    state.begin()
    own = msgspec.structs.replace(record(1), node=state.node)
    state.save([own, record(2)], 0.0)
    assert [held.node for held in state.known(0.0)] == [node_id(2)]
    state.close()


def test_defect_8_a_snapshot_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash while it is written leaves the one before, and no rubbish beside it."""
    state = NodeState(tmp_path)
    state.begin()
    state.save([record(1)], 0.0)

    def crash(*_: object) -> None:
        raise OSError("power lost")

    monkeypatch.setattr("penstock.membership.files.os.fsync", crash)
    with pytest.raises(OSError, match="power lost"):
        state.save([record(2)], 0.0)
    assert [held.node for held in state.known(0.0)] == [node_id(1)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["identity.json", "lock", "members"]
    state.close()


@pytest.mark.parametrize("content", [b"", b"\xc1", b"{}"])
def test_a_damaged_snapshot_is_no_obstacle(tmp_path: Path, content: bytes) -> None:
    """The others can tell it all again."""
    (tmp_path / "members").write_bytes(content)
    state = NodeState(tmp_path)
    state.begin()
    assert state.known(0.0) == []
    state.close()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"node": "x", "epoch": 1}'])
def test_a_damaged_identity_stops_the_start(tmp_path: Path, content: bytes) -> None:
    """Becoming somebody else without a word would leave a dead member behind."""
    (tmp_path / "identity.json").write_bytes(content)
    state = NodeState(tmp_path)
    with pytest.raises(StateUnreadable):
        state.begin()
    assert (tmp_path / "identity.json").read_bytes() == content
    state.close()


def test_one_identity_runs_once(tmp_path: Path) -> None:
    """A second process on the same folder is refused until the first has ended."""
    first = NodeState(tmp_path)
    with pytest.raises(StateUnreadable):
        NodeState(tmp_path)
    first.close()
    NodeState(tmp_path).close()
