"""Draws the Lifeguard experiment: what each protection is worth beside the paper's figures, and what waiting longer buys.

python -m bench.membership.lifeguard --report
"""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from bench.membership.lifeguard import BASE, CONFIGURATIONS, DEFAULT, PAPER, Found, common, median, share_of

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
OURS, THEIRS, CHOSEN = "#2f6f73", "#c9c2b4", "#b5403a"
LEAST_SHARE = 1e-5  # where none were found: a logarithm has no zero


def draw(found: dict[str, Found], folder: Path = FOLDER) -> list[Path]:
    """Both drawings, as SVG, the same for the same runs."""
    drawn = [_parts(found), _choice(found)]
    paths = [folder / "membership-lifeguard.svg", folder / "membership-suspicion.svg"]
    with rc_context({"svg.hashsalt": "penstock", "svg.fonttype": "none"}):
        for figure, path in zip(drawn, paths, strict=True):
            figure.savefig(path, metadata={"Date": None})
    return paths


def _parts(found: dict[str, Found]) -> Figure:
    """False positives of each part of Lifeguard as shares of plain SWIM's: the paper's and ours."""
    names = [*PAPER, DEFAULT]
    among = common(found)
    figure = Figure(figsize=(9, 0.6 * len(names) + 1.4), layout="constrained")
    axes = figure.add_subplot()
    for place, name in enumerate(names):
        if name in PAPER:
            theirs = 100 * PAPER[name][1] / PAPER[BASE][1]
            axes.barh(place - 0.2, theirs, 0.36, color=THEIRS, label="the paper's" if place == 0 else None)
            axes.annotate(
                f" {theirs:.3g} %  ({PAPER[name][0]})", (theirs, place - 0.2), va="center", fontsize=8
            )
        ours = 100 * share_of(found, name, among)[0]
        axes.barh(
            place + 0.2, max(ours, 100 * LEAST_SHARE), 0.36, color=OURS, label="ours" if place == 0 else None
        )
        axes.annotate(f" {ours:.3g} %", (max(ours, 100 * LEAST_SHARE), place + 0.2), va="center", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(100 * LEAST_SHARE, 1000)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel(f"false positives, % of plain SWIM's (the paper: 4 320 runs; ours: {len(among)})")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def _choice(found: dict[str, Found]) -> Figure:
    """Latency against false positives for each alpha and beta: one line per beta, and the default."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    among = common(found)
    for beta, marker in ((2.0, "o"), (4.0, "s"), (6.0, "^")):
        points = sorted(
            (
                median(found[name], 0),
                max(share_of(found, name, among)[0], LEAST_SHARE),
                config.suspicion_alpha,
            )
            for name, config in CONFIGURATIONS.items()
            if config.tell_suspects and config.health_limit and config.suspicion_beta == beta
        )
        axes.plot(
            [x for x, _, _ in points], [100 * y for _, y, _ in points], marker=marker, linewidth=1, label=rf"$\beta$ = {beta:g}"
        )  # fmt: skip
        for x, y, alpha in points:
            axes.annotate(
                rf"$\alpha$ {alpha:g}", (x, 100 * y), xytext=(4, 5), textcoords="offset points", fontsize=7
            )
    default = (median(found[DEFAULT], 0), 100 * max(share_of(found, DEFAULT, among)[0], LEAST_SHARE))
    axes.plot(*default, marker="*", markersize=14, color=CHOSEN, linestyle="none", label="the default")
    axes.axvline(0.6 * median(found[BASE], 0), color="black", linewidth=0.8, linestyle=":")
    axes.axhline(1.5, color="black", linewidth=0.8, linestyle=":")
    axes.text(
        0.6 * median(found[BASE], 0), 0.9, "60 % of plain SWIM's latency ",
        transform=axes.get_xaxis_transform(), rotation=90, fontsize=7, ha="right", va="top",
    )  # fmt: skip
    axes.annotate(
        "1.5 % of plain SWIM's false positives", (median(found[BASE], 0), 1.6), fontsize=7, ha="right"
    )
    axes.set_yscale("log")
    axes.set_xlabel("seconds until the first of 128 nodes declares a crash, median")
    axes.set_ylabel(f"false positives, % of plain SWIM's, {len(among)} runs")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure
