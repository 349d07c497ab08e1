import pytest

from penstock.processing import failures
from penstock.processing.failures import AwaitsScan
from penstock.video.errors import (
    CatalogUnavailable,
    Conflict,
    MediaError,
    StorageFull,
    StorageUnavailable,
    ToolFailed,
)


def test_bad_input_is_final() -> None:
    """What is wrong with the source stays wrong, and its owner is told the code."""
    verdict = failures.judge(MediaError("No.", code="media_empty"), attempt=1)
    assert (verdict.code, verdict.message, verdict.permanent) == ("media_empty", "No.", True)


def test_a_failed_run_is_tried_again_and_counts() -> None:
    """A tool that broke may not break again, but not for ever."""
    verdict = failures.judge(ToolFailed("It broke."), attempt=1)
    assert (verdict.permanent, verdict.counted) == (False, True)


@pytest.mark.parametrize("error", [StorageFull, StorageUnavailable, CatalogUnavailable])
def test_faults_of_the_surroundings_do_not_count(error: type[StorageFull]) -> None:
    """An outage of an hour fails no video; one that never ends does at last."""
    assert not failures.judge(error("Gone."), attempt=1).counted
    assert not failures.judge(error("Gone."), attempt=1).permanent
    assert failures.judge(error("Gone."), attempt=1000).counted


def test_a_full_disk_does_not_count_however_it_is_said() -> None:
    """Scratch files are written without a store that would translate the system's word; other faults of files count."""
    full = failures.judge(OSError(28, "No space left on device"), attempt=1)
    assert (full.code, full.counted, full.permanent) == ("storage_full", False, False)
    assert failures.judge(OSError(5, "Input/output error"), attempt=1).counted


def test_a_race_with_another_process_is_no_verdict_on_the_task() -> None:
    """What the other one did is seen at the next attempt."""
    assert not failures.judge(Conflict("Somebody was faster."), attempt=1).permanent


def test_a_first_chunk_can_wait_for_the_scan() -> None:
    """It neither counts nor is it final."""
    verdict = failures.judge(AwaitsScan("Frames are missing."), attempt=1)
    assert (verdict.permanent, verdict.counted, verdict.awaits_scan) == (False, False, True)


def test_a_defect_of_this_program_says_nothing_of_its_insides() -> None:
    """Users see a code and a sentence; the log has the traceback."""
    verdict = failures.judge(KeyError("/secret/path"), attempt=1)
    assert verdict.code == "internal_error"
    assert "secret" not in verdict.message
    assert verdict.counted
