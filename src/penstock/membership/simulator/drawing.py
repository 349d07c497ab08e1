"""Draws a story: who believed what about whom, over time. Needs matplotlib, which is there for development only."""

from pathlib import Path

from penstock.membership.precedence import State
from penstock.membership.simulator.timeline import Timeline

COLUMNS = 480
UNKNOWN = "#f2f2f2"
COLOURS = {State.ALIVE: "#7fb685", State.SUSPECT: "#f2c14e", State.DEAD: "#b5403a", State.LEFT: "#6f8095"}
HEIGHT, LEAST_HEIGHT, MOST_HEIGHT = 0.035, 3.5, 60.0  # inches: of one observer's line, of the whole


def draw(story: Timeline, path: Path) -> None:
    """One band per member that was ever not alive; in it one line per observer, coloured by what that one believed of it.

    The suffix of ``path`` says the format: .svg, .png or .pdf.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    lines: list[list[int]] = []
    bands: list[tuple[str, int, int]] = []
    for host, histories in story.beliefs(COLUMNS):
        bands.append((host.name, len(lines), len(lines) + len(histories)))
        lines += [[0 if state is None else 1 + state for state in history] for history in histories.values()]
    height = min(MOST_HEIGHT, max(LEAST_HEIGHT, 1.5 + HEIGHT * len(lines)))
    figure = Figure(figsize=(11, height), layout="constrained")
    axes = figure.add_subplot()
    colours = [UNKNOWN, *(COLOURS[state] for state in State)]
    if lines:
        extent = (0.0, story.seconds, float(len(lines)), 0.0)
        axes.imshow(
            lines, ListedColormap(colours), vmin=0, vmax=len(State), aspect="auto", interpolation="nearest",
            extent=extent,
        )  # fmt: skip
    for _, _, end in bands[:-1]:
        axes.axhline(end, color="white", linewidth=1.5)
    notes: dict[float, list[str]] = {}
    for moment, text in story.moments:
        notes.setdefault(moment, []).append(text)
    for moment, texts in notes.items():
        text = texts[0] if len(texts) == 1 else f"{texts[0]}, and {len(texts) - 1} more"
        axes.axvline(moment, color="black", linewidth=0.8, linestyle=":")
        axes.annotate(
            text, (moment, 0), xytext=(2, 4), textcoords="offset points", rotation=20, fontsize=8, annotation_clip=False
        )  # fmt: skip
    axes.set_yticks([(start + end) / 2 for _, start, end in bands], [name for name, _, _ in bands])
    axes.set_xlabel("seconds; each band has one line per observer")
    axes.set_ylabel("about whom")
    labels = ["not known", *(state.name.lower() for state in State)]
    patches = [Patch(color=colour, label=label) for colour, label in zip(colours, labels, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=8, frameon=False)
    figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)
