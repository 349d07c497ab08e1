import os
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.ffmpeg.refusals import Refusal
from penstock.ffmpeg.tools import Tools
from tests.media.fuzzing import taken
from tests.simulation.workshop import media_processes

_SEEDS = int(os.environ.get("FUZZ_SEEDS", "20"))
_FIRST = int(os.environ.get("FUZZ_FIRST_SEED", "1"))


@pytest.mark.parametrize("seed", range(_FIRST, _FIRST + _SEEDS))
def test_a_damaged_file_is_refused_with_a_code_or_kept(
    tools: Tools, clips: Path, tmp_path: Path, seed: int
) -> None:
    """Whatever is wrong with a file, it ends with a stable code or whole, within its limits, and nothing of it runs on."""
    limits = replace(tools.config, memory_bytes=3 << 30, cpu_seconds=60, stall_seconds=60.0)
    outcome = taken(replace(tools, config=limits), seed, clips, tmp_path)
    assert outcome.code in {"kept", *Refusal}, outcome
    assert not media_processes(os.getpid())
