import subprocess
from pathlib import Path

import pytest

from scripts.playback import FFMPEG, PlaybackWrong, best_lag, best_picture_lag, frames, offsets


def test_the_sound_lag_is_the_shift_at_which_two_recordings_agree() -> None:
    """A copy that starts three samples late is three samples late, and early the other way round."""
    wave = [(n * n * 7919) % 201 - 100 for n in range(400)]
    late = [0, 0, 0, *wave]
    assert best_lag(wave, late, most=10) == 3
    assert best_lag(late, wave, most=10) == -3


def test_the_picture_lag_is_the_shift_at_which_two_runs_look_alike() -> None:
    """A run with its first frame doubled is one frame late."""
    run = [bytes([(n * 37) % 256] * 4) for n in range(30)]
    assert best_picture_lag(run, [run[0], *run], most=3) == 1


def test_too_little_to_compare_is_refused() -> None:
    """Silence about a missing track would pass for agreement."""
    with pytest.raises(PlaybackWrong):
        best_lag([0] * 10, [0] * 10, most=10)


def test_every_decoded_frame_is_counted(clips: Path) -> None:
    """The count is that of the frames that come out of the decoder."""
    assert frames(str(clips / "bigbuckbunny.mp4")) == 132


def test_a_damaged_stream_is_not_counted_as_if_it_were_whole(clips: Path, tmp_path: Path) -> None:
    """FFmpeg ends well on damaged input; its complaints count as failure here."""
    whole = (clips / "bbb_first_750ms.ts").read_bytes()
    damaged = tmp_path / "damaged.ts"
    damaged.write_bytes(whole[:200_000] + bytes(20_000) + whole[220_000:])
    with pytest.raises(PlaybackWrong):
        frames(str(damaged))


def test_late_sound_is_heard(clips: Path, tmp_path: Path) -> None:
    """Sound that was moved by a tenth of a second against the picture is found where it was put."""
    source, moved = str(clips / "bigbuckbunny.mp4"), str(tmp_path / "moved.mp4")
    shift = ["-i", source, "-itsoffset", "0.1", "-i", source, "-map", "0:v", "-map", "1:a", "-c", "copy"]
    subprocess.run([FFMPEG, "-loglevel", "error", *shift, moved], check=True)
    found = offsets(source, moved, "25", seconds=4)
    assert found.picture == 0
    assert found.sound == pytest.approx(0.1, abs=0.002)
