"""How a client speaks TLS: from the first byte, and with a server that the authority in its credentials vouches for."""

import ssl
from typing import Any

from domain.errors import BadInput


def client_options(ca: str) -> dict[str, Any]:
    """For the NATS client: TLS from the first byte, vouched for by `ca` alone; {} without one."""
    if not ca:
        return {}
    try:
        return {"tls": ssl.create_default_context(cadata=ca), "tls_handshake_first": True}
    except ssl.SSLError as e:
        raise BadInput("the credentials hold no certificate that can be read; have them made anew") from e


def words(error: Exception, url: str, ca: str) -> str:
    """Why no connection can be had, when it is for the sake of TLS; "" for anything else."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if "mismatch" in error.verify_message:
            return (
                f"the server at {url} is not known by that name: add it to tls_names in its sluice.toml and restart it"
            )
        told = "does not vouch for it" if ca else "is not known here: credentials made on its machine (--creds) hold it"
        return f"the server at {url} shows a certificate, and the authority {told} ({error.verify_message}); nothing was sent"
    if isinstance(error, ssl.SSLError):
        return f"the server at {url} does not speak TLS as these credentials demand; nothing was sent"
    return ""
