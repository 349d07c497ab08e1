import json
import re
from pathlib import Path

import pytest

from scripts.lock import FOREIGN

ROOT = Path(__file__).parents[3]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_names_no_host_and_hashes_everything(lock: Path) -> None:
    """Each requirement is pinned with hashes, and nothing says where files come from or where the lock was made."""
    text = lock.read_text()
    assert not FOREIGN.search(text)
    requirements = re.findall(r"^[A-Za-z0-9].*", text, re.MULTILINE)
    assert requirements
    assert all(re.match(r"[\w.-]+(\[[\w,]+\])?==\S+( ; [^\\]+)? \\$", line) for line in requirements)


def test_the_locks_agree_with_each_other() -> None:
    """The development set holds the runtime set unchanged, so tests run what users run."""
    runtime, dev = (
        dict(
            re.findall(
                r"^([\w.-]+)==(\S+)", (ROOT / "requirements" / f"{name}.txt").read_text(), re.MULTILINE
            )
        )
        for name in ("runtime", "dev")
    )
    assert runtime.items() <= dev.items()


def test_the_lock_of_the_javascript_clients_names_no_registry() -> None:
    """Each package is pinned with its hash, and npm is free where it fetches it."""
    lock = json.loads((ROOT / "tests" / "clients" / "package-lock.json").read_text())
    packages = {name: facts for name, facts in lock["packages"].items() if name}
    assert packages
    assert all("resolved" not in facts and facts["integrity"] for facts in packages.values())
