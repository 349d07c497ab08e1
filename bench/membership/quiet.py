"""What a quiet cluster costs: packets and bytes per node and second.

python -m bench.membership.quiet
"""

import sys
from collections.abc import Iterator

from bench.membership.report import Result, run
from penstock.membership import codec
from penstock.membership.effects import SendPacket
from penstock.membership.simulator.world import Host, World

SECONDS = 120.0


def load(count: int, seconds: float = SECONDS) -> tuple[float, float]:
    """Packets and sealed bytes that each node sends per second, once what was said at the start is told."""
    world = World(1)
    world.converged(count)
    world.run(60)
    packets, size = 0, 0

    def see(_: Host, packet: SendPacket) -> None:
        nonlocal packets, size
        packets += 1
        size += len(codec.encode_packet(packet.messages)) + codec.SEAL_BYTES

    world.counted_packet = see
    world.run(seconds)
    return packets / seconds / count, size / seconds / count


def rows(count: int = 64) -> Iterator[Result]:
    """Against what memberlist sends."""
    packets, size = load(count)
    yield Result(
        f"steady load per node, sealed ({count} nodes)",
        "2.00 packets/s, 159 B/s",
        "≤ 2.1 packets/s, ≤ 130 B/s",
        f"{packets:.2f} packets/s, {size:.0f} B/s",
        packets <= 2.1 and size <= 130,
    )


if __name__ == "__main__":
    sys.exit(run(rows()))
