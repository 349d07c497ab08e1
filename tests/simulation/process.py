"""A processing process to be killed: ``python -m tests.simulation.process FOLDER``. It says ``ready`` and works until told to stop."""

import sys
from fractions import Fraction
from pathlib import Path

import structlog

from penstock.catalog import Catalog, CatalogConfig
from penstock.ffmpeg.config import FfmpegConfig
from penstock.ffmpeg.discovery import discover
from penstock.processing.config import ProcessingConfig
from penstock.processing.media import Media
from penstock.processing.service import ProcessingService
from penstock.video.plan import Settings
from tests.simulation.workshop import Workshop

# Half-second segments and small rungs: a short clip has many chunks, and each takes little.
SHORT = Settings(gop_seconds=Fraction(1, 2), segment_gops=1, chunk_segments=4, max_rung=360)


def config(folder: Path) -> ProcessingConfig:
    """How the tests of real processing work: as in production, at a quicker pace."""
    return ProcessingConfig(
        node="node-1",
        run_folder=folder / "run",
        scratch_folder=folder / "scratch",
        planning=SHORT,
        retry_base=0.1,
        publish_interval=0.2,
        heartbeat=0.5,
        sweep=1.0,
        disk_reserve=0,
    )


def main() -> None:
    """Works in the workshop of the folder."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    folder = Path(sys.argv[1])
    workshop = Workshop(
        folder, Catalog.open(CatalogConfig(f"sqlite:///{folder}/catalog.db")), config=config(folder)
    )
    service = ProcessingService(
        workshop.config,
        catalog=workshop.catalog,
        sources=workshop.sources,
        outputs=workshop.outputs,
        media=Media(discover(FfmpegConfig())),
        version="test",
    )

    def ready() -> None:
        sys.stdout.write("ready\n")
        sys.stdout.flush()

    service.run(on_ready=ready)


if __name__ == "__main__":
    main()
