"""What a caller of the client must be ready for."""

_PASSING = frozenset({408, 429, 502, 503, 504})
_BUSY = frozenset(
    {"upload_busy", "request_in_progress"}
)  # another request, maybe our own lost one, still runs


class ClientError(Exception):
    """A request that did not succeed.

    ``code`` is the server's stable word, or one of the client's own: ``unreachable`` (no answer at all),
    ``unexpected_answer`` (an answer that is not Penstock's), ``api_key_invalid`` and ``invalid_request`` (what cannot even be
    sent; the server has these words too), ``file_unreadable``, ``file_changed`` and ``digest_differs``
    (what the server keeps is not what was read).
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

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later without anybody doing anything."""
        return self.code == "unreachable" or self.status in _PASSING or self.code in _BUSY
