import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from penstock.catalog import Catalog, CatalogConfig
from penstock.cli.app import app
from penstock.cli.terminal import Status
from penstock.storage.s3_access import Pace


def run(*arguments: str) -> Result:
    """One command."""
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize(
    "command",
    [[], ["up"], ["serve"], ["upload"], ["import"], ["show"], ["doctor"], ["verify"], ["fsck"], ["settings"]],
)
def test_every_command_explains_itself(command: list[str]) -> None:
    """Help ends well and says how to use it."""
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_no_server_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing answers: exit status 4, and what to start."""
    monkeypatch.setenv("PENSTOCK_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PENSTOCK_DATA", str(tmp_path))
    result = run("videos")
    assert (result.exit_code, result.stdout) == (4, "")
    assert "penstock up" in result.stderr


@pytest.mark.parametrize("command", [["settings"], ["settings", "--json"], ["openapi"]])
def test_a_reader_that_has_gone_is_no_failure(command: list[str]) -> None:
    """As in ``penstock settings | head``: the command ends well and complains of nothing."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", "from penstock.cli import main; main()", *command],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("module", ["typer.main", "penstock.cli.videos", "penstock.wiring.platform"])
def test_an_interrupt_before_anything_began_ends_quietly(module: str, tmp_path: Path) -> None:
    """Ctrl-C while modules are still being loaded: the status of an interrupt, and nobody sees the loader's insides."""
    program = f"""
import os, signal, sys
class Interrupts:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupts())
from penstock.cli import main
main()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, "up", "--port", "0", "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (Status.INTERRUPTED, "")
    assert ended.stderr in ("", "interrupted\n")


@pytest.mark.parametrize("option", ["--check", "--against"])
def test_a_document_that_cannot_be_read_is_told(option: str, tmp_path: Path) -> None:
    """The file at fault is named, in words."""
    assert run("openapi", option, str(tmp_path / "none.json")).exit_code == Status.USAGE
    (tmp_path / "text.json").write_bytes(b"\xff no document")
    refused = run("openapi", "--against", str(tmp_path / "text.json"))
    assert refused.exit_code == Status.FAILED
    assert refused.stderr.startswith("error contract_unreadable: ")
    assert "text.json" in refused.stderr


def test_a_word_that_no_setting_has_is_told() -> None:
    """Silence would look like an answer; a program that asks for JSON gets an empty list."""
    asked = run("settings", "nosuch")
    assert (asked.exit_code, asked.stdout) == (Status.NOT_FOUND, "")
    assert "nosuch" in asked.stderr
    assert json.loads(run("settings", "nosuch", "--json").stdout) == []


def test_a_folder_with_brackets_is_shown_as_it_is_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Values of settings are no markup."""
    monkeypatch.setenv("PENSTOCK_DATA", f"{tmp_path}/[bold][/x]")
    assert f"PENSTOCK_DATA = {tmp_path}/[bold][/x]  (set)" in run("settings", "penstock_data").stdout


def test_a_plan_of_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe that nobody writes to would keep the command for ever."""
    os.mkfifo(tmp_path / "pipe.mp4")
    refused = run("plan", str(tmp_path / "pipe.mp4"))
    assert refused.exit_code == Status.FAILED
    assert refused.stderr.startswith("error file_unreadable: ")


def test_a_setting_that_cannot_be_is_told_by_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 3 and the variable's name."""
    monkeypatch.setenv("PENSTOCK_PORT", "eighty")
    for command in (["up"], ["videos"], ["settings"], ["serve", "web"]):
        result = run(*command)
        assert result.exit_code == 3, command
        assert "PENSTOCK_PORT" in result.stderr


def test_the_doctor_tries_a_store_out(tmp_path: Path) -> None:
    """Every step is told, and nothing is left behind."""
    result = run("doctor", "--storage", f"file://{tmp_path}/store", "--json")
    assert result.exit_code == 0
    assert [item["verdict"] for item in json.loads(result.stdout)] == ["ok"] * 7
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file()]


def test_the_doctor_says_nothing_beside_its_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that does not answer is a finding with a remedy; what is printed is JSON and nothing else."""
    for name, value in (
        ("ENDPOINT", "http://127.0.0.1:9"),
        ("ACCESS_KEY_ID", "key"),
        ("SECRET_ACCESS_KEY", "secret"),
    ):
        monkeypatch.setenv(f"PENSTOCK_SOURCES_{name}", value)
    monkeypatch.setattr(Pace.WORK, "_value_", replace(Pace.WORK.value, retries=0, retry_for=1))
    result = run("doctor", "--storage", "s3://some-bucket/x", "--json")
    assert result.exit_code == 1
    (fault,) = json.loads(result.stdout)
    assert fault["detail"].startswith("storage_unavailable")
    assert "PENSTOCK_SOURCES_ENDPOINT" in fault["remedy"]


def test_the_doctor_names_a_misspelt_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a finding with a remedy, not an error of the doctor."""
    monkeypatch.setenv("PENSTOCK_PROT", "1")
    result = run("doctor", "--json")
    assert result.exit_code == 1
    (fault,) = [item for item in json.loads(result.stdout) if item["verdict"] == "fault"]
    assert "PENSTOCK_PORT" in fault["detail"]


def test_the_doctor_sees_records_of_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the start would refuse is a finding before it."""
    monkeypatch.setenv("PENSTOCK_DATA", str(tmp_path))
    catalog = Catalog.open(CatalogConfig(url=f"sqlite:///{tmp_path}/penstock.db"))
    catalog.migrate()
    with catalog.write() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    catalog.close()
    result = run("doctor", "--json")
    assert result.exit_code == 1
    assert "version of Penstock" in next(
        item["detail"] for item in json.loads(result.stdout) if item["verdict"] == "fault"
    )


def test_a_plan_says_what_would_become_of_a_file(clips: Path) -> None:
    """What is in it and what is decided, without encoding anything."""
    result = run("plan", str(clips / "bigbuckbunny.mp4"), "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["frames"], answer["chunks"]) == (132, 2)
    assert [rung["name"] for rung in answer["plan"]["rungs"]] == ["240p", "360p", "480p", "720p"]
    shown = run("plan", str(clips / "bigbuckbunny.mp4"))
    for word in ("1280x720", "25 frames/s", "132 frames", "720p", "audio-0", "poster.jpg, 1280x720"):
        assert word in shown.stdout


def test_a_file_that_is_no_video_has_no_plan(tmp_path: Path) -> None:
    """Refused by the same code that an upload of it fails with."""
    file = tmp_path / "letter.mp4"
    file.write_text("Dear video,\n" * 1000)
    result = run("plan", str(file))
    assert result.exit_code == 1
    assert "media_not_recognised" in result.stderr


def test_the_interface_is_printed_and_checked(tmp_path: Path) -> None:
    """The document, the same as a check, and what would break clients of a former one."""
    printed = run("openapi")
    file = tmp_path / "openapi.json"
    file.write_text(printed.stdout)
    assert run("openapi", "--check", str(file), "--against", str(file)).exit_code == 0
    former = json.loads(printed.stdout)
    former["paths"]["/api/gone"] = {"get": {"responses": {}}}
    file.write_text(json.dumps(former))
    assert run("openapi", "--check", str(file)).exit_code == 1
    broken = run("openapi", "--against", str(file))
    assert broken.exit_code == 1
    assert "/api/gone: the path is gone" in broken.stderr


def test_fsck_without_records_makes_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A wrong folder is told, not taken for an empty instance."""
    monkeypatch.setenv("PENSTOCK_DATA", str(tmp_path / "wrong"))
    result = run("fsck")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "records_missing" in result.stderr
    assert not (tmp_path / "wrong").exists()


def test_fsck_tells_and_removes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Exit status 1 while a fault remains, each with code and remedy, for people and as JSON."""
    monkeypatch.setenv("PENSTOCK_DATA", str(tmp_path))
    Catalog.open(CatalogConfig(f"sqlite:///{tmp_path / 'penstock.db'}")).migrate()
    assert run("fsck").exit_code == 0
    (tmp_path / "sources" / ".staging" / "01aaaaaaaaaaaaaaaaaaaaaaaa").mkdir()
    told = run("fsck")
    assert told.exit_code == 1
    assert "orphan" in told.stdout
    assert "--repair" in told.stdout
    document = json.loads(run("fsck", "--deep", "--json").stdout)
    assert [each["code"] for each in document["faults"]] == ["orphan"]
    assert run("fsck", "--repair").exit_code == 0
    assert run("fsck").stdout.endswith("no fault\n")
