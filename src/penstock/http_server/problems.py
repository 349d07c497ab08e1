"""What the server refuses before anybody is asked, each with the rest of the connection: where the next request begins is not known."""

from penstock.video.errors import InvalidRequest, PenstockError


class RequestMalformed(InvalidRequest):
    """The bytes are no HTTP request."""

    code = "request_malformed"
    status = 400
    title = "Malformed request"


class HeadTooLarge(InvalidRequest):
    """Address and headers are longer than is read."""

    code = "head_too_large"
    status = 431
    title = "Request head too large"


class HeadStalled(InvalidRequest):
    """The head of a request did not become whole in time."""

    code = "head_stalled"
    status = 408
    title = "Request head stalled"


class CodingUnsupported(PenstockError):
    """The body is framed in a way that is not spoken here."""

    code = "coding_unsupported"
    status = 501
    title = "Transfer coding not supported"
