"""Messages to bytes and back: msgpack arrays, several messages in one datagram, strict limits.

Decoding never raises anything but :class:`Malformed`, whatever the bytes. Encryption is not known here.
"""

import msgspec

from penstock.membership.config import PACKET_LIMIT
from penstock.membership.messages import News, PacketMessage, StreamMessage

SEAL_BYTES = 44  # header and tag that sealing adds to a packet
COMPOUND_BYTES = 3  # array header of a packet of up to 65 535 messages
ROOM = PACKET_LIMIT - SEAL_BYTES - COMPOUND_BYTES  # for messages
FRAME_LIMIT = 4 * 1024 * 1024  # bytes of one message in a stream

_encoder = msgspec.msgpack.Encoder()
_packets = msgspec.msgpack.Decoder(list[PacketMessage])
_streams = msgspec.msgpack.Decoder(StreamMessage)


class Malformed(ValueError):
    """The bytes are no message of this version. They changed nothing."""


def size(message: PacketMessage) -> int:
    """Bytes that the message takes in a packet."""
    return len(_encoder.encode(message))


def fits(news: News) -> bool:
    """Whether the news fits a datagram beside a probe; else it goes without its metadata, which is fetched."""
    return size(news) <= ROOM - 64


def encode_packet(messages: tuple[PacketMessage, ...]) -> bytes:
    """The plaintext of one datagram."""
    return _encoder.encode(messages)


def decode_packet(data: bytes) -> list[PacketMessage]:
    """Raises :class:`Malformed`."""
    try:
        return _packets.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None


def encode_frame(message: StreamMessage) -> bytes:
    """The plaintext of one message of a stream."""
    return _encoder.encode(message)


def decode_frame(data: bytes) -> StreamMessage:
    """Raises :class:`Malformed`."""
    try:
        message: StreamMessage = _streams.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None
    return message
