"""What a caller of the client must be ready for."""


class ClientError(Exception):
    """A request that did not succeed.

    ``code`` is the server's stable word, or one of the client's own: ``unreachable`` (no answer at all) and
    ``unexpected_answer`` (an answer that is not Penstock's).
    """

    def __init__(
        self,
        detail: str,
        *,
        code: str,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        fields: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """``status`` is the HTTP status; ``fields`` are pointers into the request with what is expected there."""
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after
        self.fields = fields
