"""Our reading of headers gives what nats-py's own gives, whatever stands in them."""

from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from bus.lean import LeanClient

LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"Nats-Msg-Id: 7",
                b"Nats-Msg-Id:8",
                b"A B: c",
                b" Lead: x",
                b"Trail : x",
                b"none",
                b":",
                b"K:\tv ",
                b"K: a:b",
            ]
        ),
        st.binary(max_size=20).filter(lambda b: b"\r\n" not in b),
        st.text(max_size=12).map(lambda t: b"Name: " + t.encode("utf-8", "surrogatepass")),
    ),
    max_size=8,
)


@given(LINES)
def test_headers_are_read_as_nats_py_reads_them(lines):
    raw = b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    for _ in range(2):
        assert LeanClient._parse_header_lines(raw) == Client._parse_header_lines(raw)
