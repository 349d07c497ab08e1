import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.membership.keyring import Key, KeyRing
from penstock.membership.sealing import HEADER_BYTES, WINDOW, Kind, Rejected, Sealer, Window

KEY, OTHER = Key(b"k" * 32), Key(b"o" * 32)
A, B = b"A" * 16, b"B" * 16


def sealer(node: bytes = A, *, boot: int = 1, cluster: str = "test", ring: KeyRing | None = None) -> Sealer:
    """One process of node A unless told."""
    return Sealer(cluster, ring or KeyRing([KEY]), node, boot)


def reason(receiver: Sealer, sealed: bytes, kind: Kind = Kind.PACKET) -> str:
    """Why the receiver rejects it."""
    with pytest.raises(Rejected) as caught:
        receiver.open(kind, sealed)
    return caught.value.reason


def test_what_one_seals_another_opens() -> None:
    """The receiver learns the plaintext and who sealed it."""
    assert sealer(B).open(Kind.PACKET, sealer(A).seal(Kind.PACKET, b"hello")) == (A, b"hello")


def test_the_plaintext_does_not_show() -> None:
    """A packet shows its sender and counter, nothing of what it says."""
    assert b"hello hello" not in sealer().seal(Kind.PACKET, b"hello hello")


def test_the_same_packet_is_refused_the_second_time() -> None:
    """A replay changes nothing."""
    receiver, sealed = sealer(B), sealer().seal(Kind.PACKET, b"x")
    receiver.open(Kind.PACKET, sealed)
    assert reason(receiver, sealed) == "replayed"


def test_packets_may_arrive_out_of_order() -> None:
    """Each counter within the window is accepted once."""
    sender, receiver = sealer(), sealer(B)
    packets = [sender.seal(Kind.PACKET, bytes([n])) for n in range(10)]
    assert [receiver.open(Kind.PACKET, packet)[1][0] for packet in reversed(packets)] == list(
        range(9, -1, -1)
    )


def test_a_packet_older_than_the_window_is_refused() -> None:
    """What is too far back to know is not taken."""
    sender, receiver = sealer(), sealer(B)
    old = sender.seal(Kind.PACKET, b"old")
    later = [sender.seal(Kind.PACKET, b"x") for _ in range(WINDOW)]
    receiver.open(Kind.PACKET, later[-1])
    assert reason(receiver, old) == "replayed"


def test_a_packet_of_an_earlier_process_is_refused() -> None:
    """After a restart of the sender its past cannot be replayed."""
    receiver, old = sealer(B), sealer(A, boot=1).seal(Kind.PACKET, b"old")
    receiver.open(Kind.PACKET, sealer(A, boot=2).seal(Kind.PACKET, b"new"))
    assert reason(receiver, old) == "replayed"


def test_another_key_is_unreadable() -> None:
    """Without the key nothing is read."""
    assert reason(sealer(B, ring=KeyRing([OTHER])), sealer().seal(Kind.PACKET, b"x")) == "unreadable"


def test_another_cluster_is_unreadable_even_with_the_key() -> None:
    """The cluster's name is associated data."""
    assert reason(sealer(B, cluster="other"), sealer().seal(Kind.PACKET, b"x")) == "unreadable"


def test_a_datagram_is_not_taken_for_part_of_a_stream() -> None:
    """Each kind is sealed for itself."""
    sealed = sealer().seal(Kind.PACKET, b"x")
    assert reason(sealer(B), sealed, Kind.STREAM) == "version"
    assert reason(sealer(B), bytes([sealed[0] | Kind.STREAM]) + sealed[1:], Kind.STREAM) == "unreadable"


def test_a_node_refuses_its_own_packets() -> None:
    """What comes back reflected is not from a member."""
    one = sealer(A)
    assert reason(one, one.seal(Kind.PACKET, b"x")) == "own"


@pytest.mark.parametrize("length", [0, 1, HEADER_BYTES, HEADER_BYTES + 15])
def test_what_is_too_short_is_refused(length: int) -> None:
    """A packet is at least a header and a tag."""
    assert reason(sealer(B), bytes(length)) == "short"


@given(st.integers(0, 8 * 50 - 1))
def test_any_changed_bit_is_noticed(bit: int) -> None:
    """Header and content are authenticated."""
    sealed = bytearray(sealer().seal(Kind.PACKET, b"123456"))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Rejected):
        sealer(B).open(Kind.PACKET, bytes(sealed))


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_rejected(noise: bytes) -> None:
    """Noise has no other consequence than a reason."""
    with pytest.raises(Rejected):
        sealer(B).open(Kind.PACKET, noise)


def test_no_two_packets_share_key_and_nonce() -> None:
    """Sender, boot and kind give the key; the counter rises: the same plaintext never looks the same."""
    sealers = [sealer(A, boot=1), sealer(A, boot=2), sealer(B, boot=1)]
    sealed = [one.seal(kind, b"same")[HEADER_BYTES:] for one in sealers for kind in Kind for _ in range(3)]
    assert len(set(sealed)) == len(sealed)


def test_keys_roll_without_a_gap() -> None:
    """Add everywhere, use everywhere, remove everywhere: every packet on the way is opened."""
    rings = {node: KeyRing([KEY]) for node in (A, B)}
    nodes = {node: sealer(node, ring=ring) for node, ring in rings.items()}

    def talk() -> None:
        """Each says something to the other."""
        for node, peer in ((A, B), (B, A)):
            assert nodes[peer].open(Kind.PACKET, nodes[node].seal(Kind.PACKET, b"hi"))[1] == b"hi"

    for change in ("add", "use", "remove"):
        for ring in rings.values():
            match change:
                case "add":
                    ring.add(OTHER)
                case "use":
                    ring.use(OTHER.fingerprint)
                case _:
                    ring.remove(KEY.fingerprint)
            talk()
    assert rings[A].keys == (OTHER,)


def test_a_removed_key_opens_nothing_any_more() -> None:
    """Once removed, what it sealed is unreadable."""
    ring = KeyRing([KEY, OTHER])
    ring.use(OTHER.fingerprint)
    receiver, sender = sealer(B, ring=ring), sealer(A)
    receiver.open(Kind.PACKET, sender.seal(Kind.PACKET, b"x"))
    ring.remove(KEY.fingerprint)
    assert reason(receiver, sender.seal(Kind.PACKET, b"y")) == "unreadable"


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=200))
def test_the_window_accepts_each_recent_counter_exactly_once(counters: list[int]) -> None:
    """Against a plain set: nothing is accepted twice, and nothing recent is refused the first time."""
    window, seen = Window(1), set[int]()
    for counter in counters:
        too_old = bool(seen) and max(seen) - counter >= WINDOW
        assert window.has(counter) == (too_old or counter in seen)
        if not window.has(counter):
            window.add(counter)
            seen.add(counter)
