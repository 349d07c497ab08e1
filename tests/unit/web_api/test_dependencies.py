from structlog.testing import capture_logs

from penstock.video.errors import CatalogUnavailable
from penstock.web_api.dependencies import Dependencies


def test_only_changes_are_said() -> None:
    """Who asks every few seconds does not fill the log: down, another reason, up again, each once."""
    faults: list[Exception | None] = [None]

    def check() -> None:
        if faults[0] is not None:
            raise faults[0]

    asked = Dependencies({"catalog": check, "outputs": lambda: None})
    with capture_logs() as logs:
        for fault in (None, CatalogUnavailable("Away."), OSError("gone"), None):
            faults[0] = fault
            for _ in range(3):
                catalog, outputs = asked.ask()
                assert (catalog.status, outputs.status) == ("down" if fault else "ok", "ok")
    told = [(line["event"], line["dependency"], line.get("code")) for line in logs]
    assert told == [
        ("dependency_down", "catalog", "catalog_unavailable"),
        ("dependency_down", "catalog", "unreachable"),
        ("dependency_up", "catalog", None),
    ]
