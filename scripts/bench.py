"""`make bench`: runs every program of bench/, one after the other, or those named: `make bench ARGS=serving`."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Each benchmark is a program of its own and prints its table; one that fails does not stop the others."""
    programs = {path.stem: path for path in sorted((ROOT / "bench").glob("[a-z]*.py"))}
    asked = sys.argv[1:] or list(programs)
    if unknown := set(asked) - set(programs):
        print(f"bench: no {', '.join(sorted(unknown))}; there is {', '.join(programs)}", file=sys.stderr)
        return 2
    failed = []
    for name in asked:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, programs[name]], cwd=ROOT, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"bench: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
