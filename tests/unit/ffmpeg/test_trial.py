import stat
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.ffmpeg import trial
from penstock.ffmpeg.config import Isolation
from penstock.ffmpeg.tools import Tools
from penstock.video.errors import ToolError


def test_the_tools_of_an_installation_pass(tools: Tools) -> None:
    """A source of two seconds goes the whole way, under the isolation in force."""
    trial.attempt(tools)


def test_tools_that_cannot_encode_a_chunk_are_found_out(tools: Tools, tmp_path: Path) -> None:
    """What lists everything and then fails is refused, by the setting that named it."""
    pretender = tmp_path / "ffmpeg"
    pretender.write_text(
        f'#!/bin/sh\ncase "$*" in *stats_enc_pre*) exit 1;; esac\nexec {tools.ffmpeg} "$@"\n'
    )
    pretender.chmod(pretender.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(ToolError, match="PENSTOCK_FFMPEG_FFMPEG") as refusal:
        trial.attempt(replace(tools, ffmpeg=pretender, isolation=Isolation.NONE))
    assert refusal.value.code == "tools_incapable"
