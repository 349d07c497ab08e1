"""What players report about themselves, read from queries and headers of any quality."""

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from penstock.streaming import cmcd


def test_a_query_argument_is_read() -> None:
    """The member list of the specification's own example arrives with its types."""
    text = 'bl=21300,br=3200,bs,d=4004,mtp=25400,ot=v,rtp=15000,sf=h,sid="6e2fb550-c457",st=v,su,tb=6000,nor="..%2F3.m4v"'
    assert cmcd.facts(f"a=1&CMCD={quote(text)}".encode(), {}) == {
        "bl": 21300,
        "br": 3200,
        "bs": True,
        "d": 4004,
        "mtp": 25400,
        "ot": "v",
        "rtp": 15000,
        "sf": "h",
        "sid": "6e2fb550-c457",
        "st": "v",
        "su": True,
        "tb": 6000,
    }


def test_headers_are_read_together() -> None:
    """Players that use headers spread the members over four of them."""
    headers = {
        b"cmcd-object": b"br=3200,ot=v",
        b"cmcd-request": b"bl=100",
        b"cmcd-session": b'sid="a b"',
        b"x": b"bs",
    }
    assert cmcd.facts(b"", headers) == {"br": 3200, "ot": "v", "bl": 100, "sid": "a b"}


def test_quoted_texts_may_hold_separators() -> None:
    """A comma or an equals sign within quotes separates nothing, and a backslash escapes a quote."""
    assert cmcd.parse(r'sid="a,bs=1\"\\",bl=5') == {"sid": 'a,bs=1"\\', "bl": 5}


def test_what_is_not_of_its_type_is_left_out() -> None:
    """A number that is none, one beyond all sense, and unknown keys say nothing."""
    assert cmcd.parse('bl=fast,mtp=1e9,rtp=-5,tb=99999999999,foo=1,br="7",ot') == {}


@given(st.text())
def test_no_text_makes_it_fail(text: str) -> None:
    """Any text gives short printable facts of known keys."""
    for value in cmcd.parse(text).values():
        assert isinstance(value, (bool, int)) or (len(value) <= 64 and value.isprintable())


@given(
    st.binary(max_size=300), st.dictionaries(st.sampled_from([b"cmcd-object", b"cmcd-session"]), st.binary())
)
def test_no_bytes_make_it_fail(query: bytes, headers: dict[bytes, bytes]) -> None:
    """Queries and headers are bytes from strangers."""
    cmcd.facts(b"CMCD=" + query, headers)


def test_a_query_of_many_fields_says_nothing() -> None:
    """Players send one; looking through thousands for it is not worth the time."""
    assert cmcd.facts(b"CMCD=bl%3D1" + b"&a=b" * 20, {}) == {}
