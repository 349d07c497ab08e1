import threading

from structlog.testing import capture_logs

from penstock.processing.complaint import Complaint
from penstock.processing.periodic import Periodic
from penstock.video.errors import CatalogUnavailable, StorageUnavailable


def test_a_failure_that_lasts_is_said_once() -> None:
    """Until it changes: then the other failure is said, and in the end that it works again."""
    complaint = Complaint("sweep")
    away, gone = (
        CatalogUnavailable("The database does not answer."),
        StorageUnavailable("The folder is gone."),
    )
    with capture_logs() as logs:
        complaint.succeeded()
        for error in (away, away, gone, gone, gone, away):
            complaint.failed(error)
        complaint.succeeded()
        complaint.succeeded()
        complaint.failed(away)
    said = [(line["event"], line.get("code")) for line in logs]
    assert said == [
        ("sweep_failed", "catalog_unavailable"),
        ("sweep_failed", "storage_unavailable"),
        ("sweep_failed", "catalog_unavailable"),
        ("sweep_recovered", None),
        ("sweep_failed", "catalog_unavailable"),
    ]


def test_what_nobody_foresaw_has_its_traceback_once() -> None:
    """Whoever repairs it needs to know where it was raised, and not every two seconds."""
    complaint = Complaint("sweep")
    error = ZeroDivisionError("division by zero")
    with capture_logs() as logs:
        complaint.failed(error)
        complaint.failed(ZeroDivisionError("division by zero"))
    (line,) = logs
    assert (line["log_level"], line["exc_info"]) == ("error", error)


def test_a_periodic_action_goes_on_and_complains_once() -> None:
    """However often it fails; and it is called at once when it is hastened."""
    calls = threading.Semaphore(0)

    def action() -> None:
        calls.release()
        raise StorageUnavailable("The folder is gone.")

    periodic = Periodic("report", 3600.0, action)
    with capture_logs() as logs:
        periodic.start()
        for _ in range(3):
            assert calls.acquire(timeout=60)
            periodic.hasten()
        periodic.end(60)
    assert [line["event"] for line in logs] == ["report_failed"]
