import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from penstock.catalog.retries import DEFAULT_POLICY
from penstock.processing import failures
from penstock.processing.config import ProcessingConfig


def test_reading_the_settings_loads_no_database_library() -> None:
    """Every command and every service reads them, most have no records, and the library takes 40 MB and a third of a second."""
    code = "import sys, penstock.processing.config; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_defaults_are_the_records_own(tmp_path: Path) -> None:
    """One count of tries, wherever it is read."""
    config = ProcessingConfig(node="n", run_folder=tmp_path, scratch_folder=tmp_path)
    assert failures.retry_policy(config) == DEFAULT_POLICY
    assert config.lease_ms == 1000 * config.lease
    assert config.heartbeat * 3 < config.lease


def test_every_field_says_what_it_means() -> None:
    """The settings' page is written from these words."""
    source = Path(sys.modules[ProcessingConfig.__module__].__file__ or "").read_text()
    for field in fields(ProcessingConfig):
        after = source.split(f"    {field.name}: ", 1)[1].split("\n    ", 2)
        assert '"""' in "".join(after[1:])
