import sys
from pathlib import Path

import pytest

from penstock.catalog import Catalog, CatalogConfig, filesystem
from penstock.video.errors import ConfigurationError

linux = sys.platform == "linux"


def test_the_type_of_a_file_system_is_the_kernels() -> None:
    """On Linux the kind of two well-known file systems is what statfs(2) documents; elsewhere nothing is claimed."""
    if linux:
        assert filesystem.kind(Path("/proc")) == 0x9FA0
        assert filesystem.kind(Path("/sys")) == 0x62656572
        assert filesystem.kind(Path("/no/such/folder")) is None
    else:
        assert filesystem.kind(Path("/")) is None


def test_a_local_disk_is_accepted(tmp_path: Path) -> None:
    """Whatever this test runs on, it is here."""
    filesystem.refuse_network(tmp_path)


@pytest.mark.parametrize(("magic", "name"), [(0x6969, "NFS"), (0xFF534D42, "CIFS"), (0x01021997, "9P")])
def test_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, magic: int, name: str
) -> None:
    """The catalog does not open there, makes no file, and says what to do instead."""
    monkeypatch.setattr(filesystem, "kind", lambda _path: magic)
    path = tmp_path / "penstock.db"
    with pytest.raises(ConfigurationError, match=name) as raised:
        Catalog.open(CatalogConfig(f"sqlite:///{path}"))
    assert raised.value.code == "catalog_on_network_file_system"
    assert "PostgreSQL" in raised.value.detail
    assert not path.exists()
