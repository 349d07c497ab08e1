import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.membership import codec
from penstock.membership.config import METADATA_LIMIT, NAME_LIMIT, PACKET_LIMIT
from penstock.membership.messages import (
    Ack,
    Buckets,
    Compare,
    Equal,
    Fetch,
    Nack,
    News,
    PacketMessage,
    Ping,
    Relay,
    Row,
    Rows,
    StreamMessage,
    Summaries,
    Summary,
)
from penstock.membership.precedence import State
from penstock.membership.sealing import HEADER_BYTES, TAG_BYTES

ids = st.binary(min_size=16, max_size=16)
counts = st.integers(0, 2**40 - 1)
sequences = st.integers(0, 2**32 - 1)
states = st.sampled_from(State)
names = st.text(max_size=20)
hosts = st.text(min_size=1, max_size=20)
ports = st.integers(1, 65535)
data = st.binary(max_size=64)
rows = st.builds(
    Row,
    ids,
    counts,
    counts,
    states,
    counts,
    counts,
    names,
    hosts,
    ports,
    counts,
    counts,
    data,
    st.floats(0, 1e6),
)
summaries = st.builds(Summary, ids, counts, counts, states, counts, counts, counts, counts)
packet_messages = st.one_of(
    st.builds(Ping, sequences, ids),
    st.builds(Ack, sequences),
    st.builds(Nack, sequences),
    st.builds(Relay, sequences, ids, hosts, ports, st.integers(0, 600_000)),
    st.builds(News, ids, counts, counts, states, ids, names, hosts, ports, st.none() | data),
)
digests = st.integers(0, 2**64 - 1)
stream_messages = st.one_of(
    st.builds(Compare, rows, digests),
    st.builds(Equal, rows),
    st.builds(Buckets, rows, st.lists(digests, max_size=256)),
    st.builds(Summaries, st.lists(st.integers(0, 255), max_size=9), st.lists(summaries, max_size=5)),
    st.builds(Rows, ids, st.lists(rows, max_size=5), st.lists(ids, max_size=5), st.booleans()),
    st.builds(Fetch, st.lists(ids, max_size=5)),
)


@given(st.lists(packet_messages, max_size=8))
def test_what_is_encoded_is_decoded_alike(messages: list[PacketMessage]) -> None:
    """A compound packet comes back as it was, in order."""
    assert codec.decode_packet(codec.encode_packet(tuple(messages))) == messages


@given(stream_messages)
def test_a_message_of_a_stream_comes_back_as_it_was(message: StreamMessage) -> None:
    """Every message of a comparison survives the wire."""
    assert codec.decode_frame(codec.encode_frame(message)) == message


@settings(max_examples=500)
@given(st.binary(max_size=1500))
def test_arbitrary_bytes_are_refused_and_nothing_else_happens(noise: bytes) -> None:
    """The decoder returns messages or says that the bytes are malformed; no other error exists."""
    for decode in (codec.decode_packet, codec.decode_frame):
        try:
            decode(noise)
        except codec.Malformed:
            continue


@settings(max_examples=500)
@given(st.lists(packet_messages, min_size=1, max_size=5), st.data())
def test_damaged_packets_are_refused_and_nothing_else_happens(
    messages: list[PacketMessage], choice: st.DataObject
) -> None:
    """Cut, changed and lengthened encodings of real messages either decode or are malformed."""
    encoded = bytearray(codec.encode_packet(tuple(messages)))
    for _ in range(choice.draw(st.integers(1, 4))):
        place = choice.draw(st.integers(0, len(encoded) - 1))
        encoded[place] = choice.draw(st.integers(0, 255))
    damaged = bytes(encoded[: choice.draw(st.integers(0, len(encoded)))])
    try:
        codec.decode_packet(damaged)
    except codec.Malformed:
        return


@pytest.mark.parametrize(
    "wrong",
    [
        Ping(1, b"short"),
        Ping(2**32, bytes(16)),
        Ack(-1),
        Relay(1, bytes(16), "h", 0, 5),
        Relay(1, bytes(16), "h", 1, 10**6),
        Relay(1, bytes(16), "", 1, 5),
        News(bytes(16), 2**40, 0, State.ALIVE, bytes(16)),
        News(bytes(16), 1, 0, 9, bytes(16)),  # type: ignore[arg-type]
        News(bytes(16), 1, 0, State.ALIVE, bytes(16), "n" * (NAME_LIMIT + 1)),
        News(bytes(16), 1, 0, State.ALIVE, bytes(16), "n", "h", 1, bytes(METADATA_LIMIT + 1)),
    ],
    ids=repr,
)
def test_values_out_of_bounds_are_malformed(wrong: PacketMessage) -> None:
    """Lengths, ranges and states are checked by the decoder, so that no later code need."""
    with pytest.raises(codec.Malformed):
        codec.decode_packet(codec.encode_packet((wrong,)))


def test_an_unknown_type_is_malformed() -> None:
    """A message of a later version is refused, not guessed."""
    with pytest.raises(codec.Malformed):
        codec.decode_packet(b"\x91\x92\x63\x01")


def test_deep_nesting_is_malformed() -> None:
    """A bomb of nested arrays ends in the same refusal."""
    with pytest.raises(codec.Malformed):
        codec.decode_frame(b"\x91" * 100_000)


def test_fields_added_by_a_later_version_are_skipped() -> None:
    """An array longer than known is read as far as known."""
    encoded = bytearray(codec.encode_packet((Ack(7),)))
    encoded[1] += 1  # one element more in the message
    assert codec.decode_packet(bytes(encoded) + b"\x05") == [Ack(7)]


def test_the_room_for_messages_leaves_place_for_the_seal() -> None:
    """Header, tag and messages together are within the limit of a packet."""
    assert codec.SEAL_BYTES == HEADER_BYTES + TAG_BYTES
    assert codec.ROOM + codec.COMPOUND_BYTES + codec.SEAL_BYTES == PACKET_LIMIT


def test_news_with_the_largest_metadata_do_not_fit_and_small_ones_do() -> None:
    """What does not fit a datagram goes without metadata, which is fetched."""
    small = News(bytes(16), 1, 0, State.ALIVE, bytes(16), "n", "host", 1, bytes(900))
    large = News(bytes(16), 1, 0, State.ALIVE, bytes(16), "n", "host", 1, bytes(METADATA_LIMIT))
    assert codec.fits(small)
    assert not codec.fits(large)


def test_a_probe_and_its_answer_are_small() -> None:
    """The steady load is one of each per second: 130 bytes together with their seals, at most."""
    ping = codec.encode_packet((Ping(2**32 - 1, bytes(16)),))
    ack = codec.encode_packet((Ack(2**32 - 1),))
    assert len(ping) + len(ack) + 2 * codec.SEAL_BYTES <= 130
