import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.ffmpeg import discovery as module
from penstock.ffmpeg.config import FfmpegConfig, Isolation
from penstock.ffmpeg.discovery import discover
from penstock.ffmpeg.tools import Tools
from penstock.video.errors import ToolError


def program(tmp_path: Path, name: str, text: str) -> Path:
    """An executable shell script."""
    path = tmp_path / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_bundled_tools_are_found_and_complete(tools: Tools) -> None:
    """Installing the package is enough."""
    assert os.access(tools.ffmpeg, os.X_OK)
    assert tools.version
    assert len(tools.fingerprint) == 16
    assert {"h264", "hevc", "av1", "vp9", "aac", "eac3"} <= tools.decodable
    assert tools.isolation is not Isolation.AUTO


def test_a_fingerprint_is_the_same_every_time(tools: Tools) -> None:
    """Tasks of a plan go to nodes with its fingerprint: it must not wander."""
    assert discover(FfmpegConfig()).fingerprint == tools.fingerprint


def test_a_tool_that_lacks_something_is_refused_by_name(tools: Tools, tmp_path: Path) -> None:
    """What is missing is said, all of it, and what to do about it."""
    poor = program(
        tmp_path,
        "ffmpeg",
        f'case "$2" in -encoders) {tools.ffmpeg} "$@" | grep -v -e libx264 ;; '
        f'-filters) {tools.ffmpeg} "$@" | grep -v -e zscale ;; *) exec {tools.ffmpeg} "$@" ;; esac',
    )
    with pytest.raises(ToolError) as refusal:
        discover(FfmpegConfig(ffmpeg=poor, isolation=Isolation.NONE))
    assert "encoder 'libx264'" in refusal.value.detail
    assert "filter 'zscale'" in refusal.value.detail
    assert "encoder 'aac'" not in refusal.value.detail


def test_a_build_that_is_too_old_is_refused_with_the_version_needed(tools: Tools, tmp_path: Path) -> None:
    """It has every codec and would fail every chunk: the option, what brought it, and the setting are named."""
    old = program(
        tmp_path,
        "ffmpeg",
        f'case "$2" in -h) {tools.ffmpeg} "$@" | grep -v -e "^-stats_enc_pre" ;; *) exec {tools.ffmpeg} "$@" ;; esac',
    )
    with pytest.raises(ToolError, match=r"option '-stats_enc_pre' \(of FFmpeg 6.0\)") as refusal:
        discover(FfmpegConfig(ffmpeg=old, isolation=Isolation.NONE))
    assert "PENSTOCK_FFMPEG_FFMPEG" in refusal.value.detail
    assert refusal.value.code == "tools_incapable"


def test_a_missing_tool_is_named(tmp_path: Path) -> None:
    """And the setting, if it was the setting that named it."""
    with pytest.raises(ToolError, match="PENSTOCK_FFMPEG_FFPROBE"):
        discover(FfmpegConfig(ffprobe=tmp_path / "nothing"))


def test_a_tool_that_does_not_run_is_refused(tmp_path: Path) -> None:
    """A build for another machine, for instance."""
    with pytest.raises(ToolError):
        discover(FfmpegConfig(ffmpeg=program(tmp_path, "ffmpeg", "exit 1")))


def test_a_capable_tool_of_the_system_is_accepted(
    tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no bundled one is installed, the search path is looked through."""
    for name, path in (("ffmpeg", tools.ffmpeg), ("ffprobe", tools.ffprobe)):
        program(tmp_path, name, f'exec {path} "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(module, "_bundled", lambda *_: iter(()))
    found = discover(FfmpegConfig(isolation=Isolation.NONE))
    assert found.ffmpeg == (tmp_path / "ffmpeg").resolve()
    assert replace(found, fingerprint="") != tools


def test_isolation_that_was_asked_for_and_cannot_be_had_is_an_error(
    tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not quietly become less."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ToolError, match="bwrap is not installed"):
        discover(replace(tools.config, isolation=Isolation.BUBBLEWRAP))


@pytest.mark.parametrize(
    ("left", "said"),
    [("nothing", "is not there"), ("a folder", "is a folder"), ("a text", "cannot be executed")],
)
def test_a_program_that_cannot_be_is_told_with_its_setting(tmp_path: Path, left: str, said: str) -> None:
    """What was named, what is wrong with it, and how to get back to the one that comes with the program."""
    named = tmp_path / "ffmpeg"
    if left == "a folder":
        named.mkdir()
    elif left == "a text":
        named.write_text("no program")
    with pytest.raises(ToolError) as refused:
        discover(FfmpegConfig(ffmpeg=named))
    for word in (str(named), said, "unset it"):
        assert word in refused.value.detail
    assert refused.value.detail.count("PENSTOCK_FFMPEG_FFMPEG") == 2
