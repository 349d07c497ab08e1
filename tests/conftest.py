"""What every tier shares: where the clips are, how property tests behave, and an environment that is nobody's."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A shared machine may be slow at any moment, and slowness is no failure: no deadline per example. In CI the same examples
# every time, so that a red run can be repeated; elsewhere new ones each time, because they find more.
settings.register_profile("here", deadline=None, print_blob=True)
settings.register_profile(
    "ci", deadline=None, print_blob=True, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") else "here")

# A developer's own settings must not decide what the tests see; programs started by tests inherit this too.
for _name in [name for name in os.environ if name.startswith("PENSTOCK_")]:
    del os.environ[_name]

# Nor whether Python keeps what it compiled: hundreds of processes start here, each twice as fast from compiled modules.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# In the background of a shell that has no jobs, Ctrl-C is ignored, and every process started from there ignores it too. Tests
# end platforms by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real clips; its README says what each is worth."""
    return Path(__file__).parent / "media"
