import asyncio
from pathlib import Path

import pytest

from penstock.membership.errors import InvalidInput
from penstock.membership.seeds import parse, read_file, resolve, route_to


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", ("10.0.0.1", 7946)),
        ("10.0.0.1:99", ("10.0.0.1", 99)),
        ("node.example:99", ("node.example", 99)),
        ("[::1]:99", ("::1", 99)),
        ("[::1]", ("::1", 7946)),
        ("::1", ("::1", 7946)),
    ],
)
def test_addresses_are_read(text: str, address: tuple[str, int]) -> None:
    """With and without port, names and both kinds of IP."""
    assert parse(text) == address


@pytest.mark.parametrize("text", ["", ":99", "host:", "host:0", "host:99999", "host:http", "[::1]x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """With what was expected."""
    with pytest.raises(InvalidInput, match="HOST:PORT"):
        parse(text)


def test_a_name_stands_for_all_its_addresses_and_one_that_fails_for_none() -> None:
    """Names that do not resolve now are asked again later."""
    found = asyncio.run(resolve(["localhost:5", "no-such-host.invalid:6", "127.0.0.9:7"]))
    assert ("127.0.0.9", 7) in found
    assert ("127.0.0.1", 5) in found or ("::1", 5) in found
    assert all(port != 6 for _, port in found)


def test_a_file_of_seeds_may_have_comments_and_may_be_missing(tmp_path: Path) -> None:
    """One per line."""
    path = tmp_path / "seeds"
    assert read_file(path) == []
    path.write_text("# machines\n10.0.0.1:1  # first\n\n10.0.0.2\n")
    assert read_file(path) == ["10.0.0.1:1", "10.0.0.2"]


def test_the_route_to_this_machine_is_itself() -> None:
    """Only the routing table is asked."""
    assert route_to(parse("127.0.0.1:1")) == "127.0.0.1"
