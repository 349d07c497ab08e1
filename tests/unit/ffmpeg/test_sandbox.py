from pathlib import Path

from penstock.ffmpeg.config import Isolation
from penstock.ffmpeg.sandbox import wrap

TOOL, SOURCE, BWRAP = Path("/opt/ffmpeg"), Path("/data/source"), Path("/usr/bin/bwrap")


def test_bubblewrap_shows_the_tool_its_source_and_nothing_else() -> None:
    """Everything is bound read-only, and no network, process or user of the machine is shared."""
    command = wrap(Isolation.BUBBLEWRAP, BWRAP, TOOL, ["-i", "file:/data/source"], [SOURCE])
    assert command[0] == str(BWRAP)
    assert "--unshare-all" in command
    assert "--die-with-parent" in command
    assert "--bind" not in command
    assert command[command.index("--") + 1 :] == [str(TOOL), "-i", "file:/data/source"]
    bound = [command[i + 1] for i, word in enumerate(command) if word == "--ro-bind"]
    assert bound == [str(TOOL), str(SOURCE)]


def test_other_levels_run_the_tool_itself() -> None:
    """The launcher does what they need."""
    for isolation in (Isolation.NAMESPACE, Isolation.NONE):
        assert wrap(isolation, BWRAP, TOOL, ["-version"], []) == [str(TOOL), "-version"]
