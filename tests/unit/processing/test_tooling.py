import pytest
from structlog.testing import capture_logs

from penstock.processing.tooling import Tooling
from penstock.video.errors import ToolError


class Machine:
    """A machine whose tools run when the test says so."""

    works = True
    trials = 0

    def trial(self) -> None:
        """Starts them."""
        self.trials += 1
        if not self.works:
            raise ToolError("No such file or directory")


def test_tools_that_cannot_be_started_pause_the_queue_until_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each change is said once; in between they are tried ever more seldom."""
    now = [0.0]
    monkeypatch.setattr("penstock.processing.tooling.time.monotonic", lambda: now[0])
    machine = Machine()
    tools = Tooling(machine.trial)
    assert tools.is_usable()
    assert machine.trials == 0
    machine.works = False
    with capture_logs() as logs:
        assert tools.is_to_blame()
        with pytest.raises(ToolError):
            tools.check()
        for second in range(600):
            now[0] = float(second)
            assert not tools.is_usable()
        assert machine.trials < 20
        machine.works = True
        now[0] += 60
        assert tools.is_usable()
        tools.check()
    assert [(line["event"], line["reason"]) for line in logs] == [
        ("queue_paused", "tools_unusable"),
        ("queue_resumed", "tools_unusable"),
    ]


def test_tools_that_run_are_not_to_blame() -> None:
    """One task's trouble does not hold up the others."""
    tools = Tooling(Machine().trial)
    assert not tools.is_to_blame()
    assert tools.is_usable()
