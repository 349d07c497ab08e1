import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from penstock.catalog import Catalog, CatalogConfig, claims
from penstock.cli.app import app
from tests.contract.catalog import scenes


def run(*arguments: str) -> Result:
    """One command, on a wide terminal."""
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, arguments)


def test_what_was_given_up_is_listed_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """For people and as JSON, from the records alone; what the video needs is retried."""
    monkeypatch.setenv("PENSTOCK_DATA", str(tmp_path))
    catalog = Catalog.open(CatalogConfig(f"sqlite:///{tmp_path / 'penstock.db'}"))
    catalog.migrate()
    assert run("tasks", "--dead").stdout == "no task was given up\n"
    scene = scenes.encoding(catalog)
    assert "transcode 0" in run("tasks").stdout
    task = scenes.take(catalog, scene.chunks[0].id, scene.worker)
    with catalog.write() as tx:
        claims.fail(
            tx, task.id, scene.worker.id, 1, code="media_undecodable", message="No picture.", permanent=True
        )
    catalog.close()
    shown = run("tasks", "--dead").stdout
    assert "media_undecodable: No picture." in shown
    assert "penstock retry" in shown
    (item,) = json.loads(run("tasks", "--dead", "--json").stdout)["items"]
    assert (item["video_id"], item["error"]["code"]) == (scene.video.id, "media_undecodable")
    assert item["remedy"] == f"penstock retry {scene.video.id}"


def test_tasks_of_a_wrong_folder_are_not_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A wrong folder is told, not taken for an instance with nothing to do."""
    monkeypatch.setenv("PENSTOCK_DATA", str(tmp_path / "wrong"))
    result = run("tasks", "--dead")
    assert result.exit_code == 3
    assert "records_missing" in result.stderr
