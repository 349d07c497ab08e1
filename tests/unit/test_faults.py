import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import faults
from penstock.faults import ArmingRefused, Point

COMES_BY = """
import sys
from pathlib import Path
from penstock import faults
faults.arm_from(Path(sys.argv[1]))
for point in sys.argv[2:]:
    faults.reach(faults.Point(point))
print("lives")
"""


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    """What a test arms ends with it."""
    yield
    faults.disarm()


def come_by(folder: Path, *points: Point) -> subprocess.CompletedProcess[str]:
    """A process that passes these points."""
    return subprocess.run(
        [sys.executable, "-c", COMES_BY, str(folder), *points], capture_output=True, text=True, check=False
    )


def test_unarmed_points_do_nothing() -> None:
    """A service passes all of them by."""
    for point in Point:
        faults.reach(point)


def test_an_armed_action_is_told_of_every_point() -> None:
    """And of none any more once it is disarmed."""
    seen: list[Point] = []
    faults.arm(seen.append)
    faults.reach(Point.UPLOAD_ADOPTED)
    faults.disarm()
    faults.reach(Point.UPLOAD_TIDIED)
    assert seen == [Point.UPLOAD_ADOPTED]


def test_outside_a_test_run_arming_is_refused(tmp_path: Path) -> None:
    """A service has not got what pytest puts into the environment: it does not start with faults, and says why."""
    outside = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    settings = {"PENSTOCK_FAULTS": str(tmp_path / "faults"), "PENSTOCK_DATA": str(tmp_path / "data")}
    started = subprocess.run(
        [sys.executable, "-m", "penstock.cli", "serve", "processing"],
        env={**outside, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert started.returncode == 3
    assert "faults_refused" in started.stderr
    assert not (tmp_path / "faults").exists()


def test_arming_asks_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No caller can say that it is a test run."""
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    with pytest.raises(ArmingRefused):
        faults.arm(lambda _: None)


def test_who_carries_an_order_out_goes_last(tmp_path: Path) -> None:
    """Everything that is named dies at the point, whoever comes to it and in whatever order they are named."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        tmp_path.joinpath(Point.CLAIM_TAKEN).write_text(f"kill 0\nkill {other.pid}\n")
        assert come_by(tmp_path, Point.CLAIM_TAKEN).returncode == -signal.SIGKILL
        assert other.wait(timeout=60) == -signal.SIGKILL
    finally:
        other.kill()
        other.wait()


def test_an_order_is_carried_out_once_by_who_comes_by(tmp_path: Path) -> None:
    """The process ends at the point as by kill -9; the next one passes it."""
    tmp_path.joinpath(Point.CLAIM_TAKEN).write_text("kill 0\n")
    first = come_by(tmp_path, Point.CLAIM_TAKING, Point.CLAIM_TAKEN)
    assert (first.returncode, first.stdout) == (-signal.SIGKILL, "")
    second = come_by(tmp_path, Point.CLAIM_TAKING, Point.CLAIM_TAKEN)
    assert (second.returncode, second.stdout) == (0, "lives\n")
    assert {each.name for each in (tmp_path / "passed").iterdir()} == {Point.CLAIM_TAKING, Point.CLAIM_TAKEN}


def test_an_order_names_whom_else_to_end(tmp_path: Path) -> None:
    """Everything of a machine can be ended at one point of one process."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    tmp_path.joinpath(Point.FREEZE_WRITTEN).write_text(f"kill {other.pid}\nkill 0\n")
    assert come_by(tmp_path, Point.FREEZE_WRITTEN).returncode == -signal.SIGKILL
    assert other.wait(60) == -signal.SIGKILL
