import os
from pathlib import Path

from scripts.environment import Transfer, occupied, reported_transfer


def test_downloads_of_both_installers_are_summed() -> None:
    """Of the installers, pip reports decimal units, uv binary ones; lines about anything else are ignored."""
    said = (
        "Collecting uv==0.13.8\n  Downloading uv-0.13.8-py3-none-manylinux.whl (17.4 MB)\n  Downloading x.whl (9.5 kB)\n"
        "Downloading cryptography (4.8MiB)\n Downloaded cryptography\nPrepared 56 packages in 1.86s\n"
    )
    assert reported_transfer(said) == Transfer(bytes=17_400_000 + 9_500 + round(4.8 * 2**20), files=3)


def test_a_warm_cache_is_not_passed_off_as_a_small_download() -> None:
    """Nothing downloaded is said as such."""
    assert "cache" in str(reported_transfer("Installed 56 packages in 30ms\n"))


def test_a_hard_link_occupies_its_bytes_once(tmp_path: Path) -> None:
    """Two names of one file count one file."""
    one = tmp_path / "one"
    one.write_bytes(bytes(8192))
    alone = occupied(tmp_path)
    os.link(one, tmp_path / "two")
    assert occupied(tmp_path) == alone >= 8192
