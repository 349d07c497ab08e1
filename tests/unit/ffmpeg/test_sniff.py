import struct
from pathlib import Path

import pytest

from penstock.ffmpeg.sniff import Structure, not_media, sniff
from penstock.video.errors import MediaError


def box(kind: bytes, size: int, *, claimed: int | None = None) -> bytes:
    """A box of ``size`` bytes that may claim another size."""
    return struct.pack(">I4s", size if claimed is None else claimed, kind) + bytes(size - 8)


def written(tmp_path: Path, data: bytes) -> Path:
    """A file of these bytes."""
    path = tmp_path / "source"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "structure"),
    [
        (box(b"ftyp", 24) + box(b"moov", 100) + box(b"mdat", 50), Structure(mp4=True, moov=True)),
        (box(b"ftyp", 24) + box(b"mdat", 50), Structure(mp4=True)),
        (box(b"ftyp", 24) + box(b"moov", 99) + box(b"mdat", 50, claimed=51), Structure(True, True, True)),
        (box(b"ftyp", 24) + box(b"moov", 99) + box(b"mdat", 50, claimed=0), Structure(mp4=True, moov=True)),
        (box(b"ftyp", 24) + box(b"mdat", 50, claimed=3), Structure(mp4=True)),
        (b"RIFF....AVI LIST", Structure()),
        (b"x", Structure()),
    ],
)
def test_boxes_say_whether_all_is_there(tmp_path: Path, data: bytes, structure: Structure) -> None:
    """A missing index and a box that ends behind the file are seen without any tool."""
    assert sniff(written(tmp_path, data)) == structure


def test_a_64_bit_size_is_understood(tmp_path: Path) -> None:
    """Recordings above 4 GiB have one."""
    large = struct.pack(">I4sQ", 1, b"mdat", 1 << 40) + bytes(64)
    assert sniff(written(tmp_path, box(b"ftyp", 24) + large)) == Structure(mp4=True, truncated=True)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n",
        "\ufeff#EXTM3U\n",
        "\n\n#EXTM3U",
        "ffconcat version 1.0\n",
        "<MPD>",
        '<?xml version="1.0"?>\n<MPD>',
        "v=0\r\no=-",
    ],
)
def test_playlists_are_refused_by_their_text(tmp_path: Path, text: str) -> None:
    """Whatever they are called: no tool gets to see one."""
    with pytest.raises(MediaError) as refusal:
        sniff(written(tmp_path, text.encode()))
    assert refusal.value.code == "media_playlist_refused"


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    """With a code of its own."""
    with pytest.raises(MediaError) as refusal:
        sniff(written(tmp_path, b""))
    assert refusal.value.code == "media_empty"


@pytest.mark.parametrize(
    "data",
    [
        b"%PDF-1.7\n",
        b"PK\x03\x04rest",
        b"\x1f\x8b\x08\x00",
        b"\x7fELF\x02",
        b"MZ\x90\x00",
        b"#!/bin/sh\n",
        b"<!DOCTYPE html><html>",
        b"\xef\xbb\xbf  <html>",
        b"<?xml version='1.0'?><svg/>",
        b"SQLite format 3\x00",
    ],
)
def test_what_is_certainly_no_video_is_told_from_its_first_bytes(tmp_path: Path, data: bytes) -> None:
    """Documents, archives, programs and pages are shown to no tool."""
    assert not_media(data)
    with pytest.raises(MediaError) as error:
        sniff(written(tmp_path, data))
    assert error.value.code == "media_not_recognised"


def test_every_clip_may_be_a_video(clips: Path) -> None:
    """Nothing that could be played is refused for its first bytes, nor for what begins like a script."""
    files = [
        path for path in clips.iterdir() if path.suffix in {".mp4", ".webm", ".mkv", ".ts", ".avi", ".mov"}
    ]
    assert len(files) > 3
    assert [path.name for path in files if not_media(path.read_bytes()[:4096])] == []
    assert not_media(b"#!AMR\n") is None
    assert not_media(b"") is None
    assert not_media(b"\x00\x00\x01\xba") is None
