"""What the streaming service is made of."""

import subprocess
import sys


def test_it_is_made_of_objects_and_keys_alone() -> None:
    """Neither records nor media tools are even loaded, so nothing of them can stop playback."""
    program = (
        "import sys, penstock.streaming.app\n"
        "unwanted = ('penstock.catalog', 'sqlalchemy', 'psycopg', 'penstock.ffmpeg', 'penstock.processing')\n"
        "print([name for name in sys.modules if name.startswith(unwanted)])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
