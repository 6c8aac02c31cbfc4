"""Who connects, where, and how its account names what lies in that of the streams."""

import msgspec

from bus.rights import API


class Wire(msgspec.Struct, frozen=True):
    """Prefixes as this connection's account sees them."""

    api: str = "$JS.API"
    presence: str = "$KV.PRESENCE"


AGENT_WIRE = Wire(api=API)
MINER_WIRE = Wire(api=API, presence="presence")


class Credentials(msgspec.Struct, frozen=True):
    """How to connect in a role; stored 0600. `seed`: the user's private key (an nkey). `host` is the token that a miner
    may write under. `ca`: the certificate (PEM) that vouches for the server; with it nothing goes over the wire in clear.
    """

    url: str
    role: str
    user: str = ""
    seed: str = ""
    wire: Wire = Wire()
    host: str = ""
    ca: str = ""


def refused(credentials: Credentials) -> str:
    """What to say when the server does not know this user."""
    other = "" if credentials.user else "; it wants credentials (--creds)"
    if credentials.host and credentials.user:
        other = (
            f"; they were revoked or are another instance's: `sluice creds add miner {credentials.host}` makes new ones"
        )
    return f"the server at {credentials.url} refuses the credentials of {credentials.role}{other}"
