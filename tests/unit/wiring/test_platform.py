from pathlib import Path

import pytest

from penstock.settings import Settings
from penstock.video.errors import ConfigurationError
from penstock.wiring import platform, processes


@pytest.mark.parametrize("below", ["", "data"])
def test_a_data_folder_that_cannot_be_made_is_refused_with_the_remedy(tmp_path: Path, below: str) -> None:
    """A file stands where the folder, or one above it, should be: one line says so, before anything starts."""
    (tmp_path / "file").write_text("here already")
    settings = Settings.load(data=tmp_path / "file" / below)
    with pytest.raises(ConfigurationError, match="Choose another with --data"):
        platform.run(settings, {}, announce=lambda settings, url: None)


@pytest.mark.parametrize("service", ["web", "streaming", "processing", "member"])
def test_a_service_alone_refuses_such_a_folder_too(tmp_path: Path, service: str) -> None:
    """The same line, whatever is started on it."""
    (tmp_path / "file").write_text("here already")
    settings = Settings.load(data=tmp_path / "file" / "data")
    with pytest.raises(ConfigurationError, match="Choose another with --data or PENSTOCK_DATA"):
        processes.run(service, settings)
