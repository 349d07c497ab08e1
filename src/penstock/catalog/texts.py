"""What both databases can store as text: PostgreSQL knows no NUL and holds columns to their length, SQLite does neither."""

from penstock.video.errors import FieldError, InvalidRequest


def checked(field: str, value: str, *, limit: int) -> str:
    """``value`` as it is. Raises :class:`InvalidRequest` naming ``field`` where it is longer than ``limit`` or not text."""
    problem = None
    if len(value) > limit:
        problem = f"At most {limit} characters are kept; this has {len(value)}."
    elif "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        problem = "NUL and lone surrogates are not text."
    if problem:
        raise InvalidRequest(
            f"The {field} is not usable: {problem}", errors=(FieldError(f"/{field}", problem),)
        )
    return value


def folded(text: str) -> str:
    """What a search looks in and titles are sorted by, the same on both databases: letter case does not matter."""
    return text.casefold()
