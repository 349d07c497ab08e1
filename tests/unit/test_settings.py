import os
from fractions import Fraction
from pathlib import Path

import pytest

from penstock import settings as settings_module
from penstock.ffmpeg.config import Isolation
from penstock.settings import ClientSettings, Settings
from penstock.video.errors import ConfigurationError


def test_nothing_needs_to_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any variable: loopback, SQLite and folders below the data folder, absolute."""
    monkeypatch.chdir(tmp_path)
    settings = Settings.load()
    assert not settings.is_public
    assert settings.database == f"sqlite:///{tmp_path}/data/penstock.db"
    assert settings.sources.url == f"file://{tmp_path}/data/sources"
    assert settings.outputs.url == f"file://{tmp_path}/data/outputs"
    assert settings.processing.run_folder == tmp_path / "data" / "run"
    assert settings.access.keyring_path == tmp_path / "data" / "keyring.json"


def test_a_folder_with_odd_characters_becomes_a_url(tmp_path: Path) -> None:
    """A blank or a percent sign in a path survives the way through a URL."""
    assert Settings.load(data=tmp_path / "my data 100%").sources.url.endswith("/my%20data%20100%25/sources")


def test_the_environment_sets_and_an_option_comes_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line gives wins; what it leaves open does not."""
    monkeypatch.setenv("PENSTOCK_PORT", "9000")
    assert Settings.load().port == 9000
    assert Settings.load(port=9001).port == 9001
    assert Settings.load(port=None).port == 9000


def test_every_field_of_a_room_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The room's name and the field's name make the variable; types are those of the room's configuration."""
    monkeypatch.setenv("PENSTOCK_PROCESSING_ENCODE_SLOTS", "3")
    monkeypatch.setenv("PENSTOCK_PLAN_GOP_SECONDS", "3/2")
    monkeypatch.setenv("PENSTOCK_FFMPEG_ISOLATION", "none")
    monkeypatch.setenv("PENSTOCK_FFMPEG_FFMPEG", "/opt/ffmpeg")
    settings = Settings.load()
    assert settings.processing.encode_slots == 3
    assert settings.processing.planning.gop_seconds == Fraction(3, 2)
    assert settings.ffmpeg.isolation is Isolation.NONE
    assert settings.ffmpeg.ffmpeg == Path("/opt/ffmpeg")


def test_every_room_can_be_filled() -> None:
    """No room needs a value that neither it nor the settings of the whole program have."""
    filled = Settings.load().rooms()
    assert {name: type(room) for name, room in filled.items()} == {
        name: config for name, (config, _) in settings_module.ROOMS.items()
    }


@pytest.mark.parametrize(
    ("name", "hint"),
    [("PENSTOCK_PROT", "PENSTOCK_PORT"), ("PENSTOCK_PROCESSING_NODE", "PENSTOCK_PROCESSING_")],
)
def test_a_misspelt_variable_is_refused_with_the_nearest(
    name: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would otherwise leave the default in force without a word. What follows from other settings is none itself."""
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigurationError, match=rf"^{name} is not a setting. Did you mean {hint}"):
        Settings.load()


def test_a_file_completes_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of all rooms may stand in it; the environment comes before it, and children find all of it there."""
    file = tmp_path / "penstock.env"
    file.write_text("# ours\nPENSTOCK_PORT=9001\n\nPENSTOCK_NODE='n $1'\nPENSTOCK_UPLOAD_MAX_SIZE=5000\n")
    environment = {"PENSTOCK_SETTINGS_FILE": str(file), "PENSTOCK_PORT": "9002", "HOME": str(tmp_path)}
    monkeypatch.setattr(os, "environ", environment)
    settings = Settings.load(data=tmp_path)
    assert (settings.port, settings.node, settings.upload.max_size) == (9002, "n $1", 5000)
    assert settings.environment()["PENSTOCK_NODE"] == "n $1"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"PENSTOCK_PORT\n", "PENSTOCK_PORT has no value"),
        (b"\xff\xfe", "no text"),
        (b"PENSTOCK_PROT=1\n", "PENSTOCK_PROT is not a setting"),
    ],
)
def test_a_file_that_is_wrong_is_refused(
    content: bytes | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is wrong, and never with a value: it may hold secrets."""
    file = tmp_path / "penstock.env"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setattr(os, "environ", {"PENSTOCK_SETTINGS_FILE": str(file), "HOME": str(tmp_path)})
    with pytest.raises(ConfigurationError, match=said):
        Settings.load()


def test_a_bad_value_is_refused_without_being_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable and what is expected are named; the value might be a secret."""
    monkeypatch.setenv("PENSTOCK_PORT", "hunter2")
    monkeypatch.setenv("PENSTOCK_LOG_LEVEL", "loud")
    with pytest.raises(
        ConfigurationError, match=r"PENSTOCK_PORT: .* integer.*PENSTOCK_LOG_LEVEL: "
    ) as refusal:
        Settings.load()
    assert "hunter2" not in refusal.value.detail


def test_a_bad_value_of_a_room_is_refused_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text names the variable that the operator wrote."""
    monkeypatch.setenv("PENSTOCK_PROCESSING_ENCODE_SLOTS", "many")
    with pytest.raises(ConfigurationError, match=r"^PENSTOCK_PROCESSING_ENCODE_SLOTS: "):
        Settings.load()


@pytest.mark.parametrize(
    "contradiction",
    [
        {"database_url": "postgresql://db.example.org/penstock"},
        {"sources_url": "file:///srv/media", "outputs_url": "file:///srv/media"},
        {"public_url": "video.example.org"},
        {"port": 70000},
    ],
)
def test_contradictions_are_refused(contradiction: dict[str, object]) -> None:
    """A shared database beside a private folder, one store for both purposes, an address that is none."""
    with pytest.raises(ConfigurationError):
        Settings.load(**contradiction)


def test_a_shared_database_is_refused_with_a_remedy_that_there_is() -> None:
    """Objects lie in folders only, so nobody is sent to look for a shared store."""
    with pytest.raises(ConfigurationError) as refused:
        Settings.load(database_url="postgresql://db.example/penstock")
    assert "PENSTOCK_DATABASE_URL unset" in refused.value.detail
    assert "SOURCES_URL" not in refused.value.detail


def test_a_completion_of_every_part_must_fit_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """More parts need a larger body limit, which the refusal names."""
    monkeypatch.setenv("PENSTOCK_UPLOAD_MOST_PARTS", "5000")
    with pytest.raises(ConfigurationError, match="PENSTOCK_WEB_JSON_BODY_LIMIT"):
        Settings.load()
    monkeypatch.setenv("PENSTOCK_WEB_JSON_BODY_LIMIT", "1000000")
    assert Settings.load().upload.most_parts == 5000


def test_the_port_of_processing_follows_the_public_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prometheus finds it at the next number, anywhere where the public one is anywhere, or where it was set."""
    assert Settings.load().processing.port == 8801
    assert Settings.load(port=9000).processing.port == 9001
    assert Settings.load(port=0).processing.port == 0
    assert Settings.load(port=65535).processing.port == 0
    monkeypatch.setenv("PENSTOCK_PROCESSING_PORT", "9200")
    assert Settings.load(port=9000).processing.port == 9200


def test_a_database_on_this_machine_may_go_with_folders() -> None:
    """PostgreSQL beside the folders is still one machine."""
    assert Settings.load(database_url="postgresql://localhost/penstock").database.startswith("postgresql:")


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8800"),
        ("0.0.0.0", "http://localhost:8800"),
        ("::1", "http://[::1]:8800"),
        ("192.0.2.7", "http://192.0.2.7:8800"),
    ],
)
def test_the_address_is_one_that_a_browser_here_can_open(bind: str, url: str) -> None:
    """A wildcard is no address to go to."""
    assert Settings.load(bind=bind).address(8800) == url


def test_a_child_process_loads_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Options of the parent reach the child as variables."""
    settings = Settings.load(data=tmp_path)
    for name, value in settings.environment(data=tmp_path, port=None, bind="::1").items():
        monkeypatch.setenv(name, value)
    child = Settings.load()
    assert (child.data, child.bind, child.port) == (tmp_path, "::1", 8800)


def test_logs_are_readable_on_a_terminal_and_json_elsewhere(tmp_path: Path) -> None:
    """The automatic form depends on who looks; a file is never coloured."""
    assert Settings.load().telemetry("web", terminal=True).format == "console"
    assert Settings.load().telemetry("web", terminal=False).format == "json"
    assert Settings.load(log_file=tmp_path / "x").telemetry("web", terminal=True).format == "json"
    assert Settings.load(log_format="console").telemetry("web", terminal=False).format == "console"


def test_the_client_has_settings_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Server address and key are no settings of a server, and no misspelt ones either."""
    monkeypatch.setenv("PENSTOCK_URL", "https://video.example.org")
    monkeypatch.setenv("PENSTOCK_API_KEY", "pst_x")
    Settings.load()
    assert ClientSettings() == ClientSettings(url="https://video.example.org", api_key="pst_x")


def test_seeds_elsewhere_and_an_address_that_only_this_machine_reaches_contradict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A node of a cluster that nobody could reach would be declared dead by all."""
    monkeypatch.setenv("PENSTOCK_MEMBERSHIP_SEEDS", "127.0.0.2:7946, localhost")
    assert Settings.load(cluster="home").membership.cluster == "home"
    monkeypatch.setenv("PENSTOCK_MEMBERSHIP_SEEDS", "10.0.0.5:7946,localhost")
    assert Settings.load().cluster is None
    with pytest.raises(ConfigurationError, match="PENSTOCK_MEMBERSHIP_BIND"):
        Settings.load(cluster="home")
    monkeypatch.setenv("PENSTOCK_MEMBERSHIP_BIND", "0.0.0.0")
    Settings.load(cluster="home")
    monkeypatch.setenv("PENSTOCK_MEMBERSHIP_BIND", "127.0.0.1")
    monkeypatch.setenv("PENSTOCK_MEMBERSHIP_SEEDS", "host:port")
    with pytest.raises(ConfigurationError, match="PENSTOCK_MEMBERSHIP_SEEDS: 'host:port'"):
        Settings.load(cluster="home")
