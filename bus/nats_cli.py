"""What the `nats` command needs to look at an instance: a context file, made from a role's credentials here and nowhere else.

The streams are reached through renamed imports, so that it must be told the prefix of their API; and a user may listen
under an inbox of its own only.
"""

from pathlib import Path

import msgspec

from bus.accounts import write_private
from bus.client import Credentials


def context(credentials: Credentials, nkey: str = "", ca: str = "") -> dict[str, str]:
    """The fields of a context (`nats context add --help` explains them); those that are not set are left out.

    `nkey` and `ca`: files with the user's seed and with the authority that its server is proved by.
    """
    fields = {
        "description": f"{credentials.role} of a Sluice instance",
        "url": credentials.url,
        "nkey": nkey,
        "ca": ca,
        "jetstream_api_prefix": "" if credentials.wire.api == "$JS.API" else credentials.wire.api,
        "inbox_prefix": f"_INBOX.{credentials.user}" if credentials.user else "",
    }
    return {name: value for name, value in fields.items() if value}


def write_context(folder: Path, credentials: Credentials) -> Path:
    """A 0600 file that `NATS_CONTEXT` or `--context` may name; returns its absolute path."""
    folder.mkdir(mode=0o700, exist_ok=True)
    path = (folder / f"{credentials.role}.json").absolute()
    seed, ca = path.with_suffix(".nk"), path.with_suffix(".ca.pem")
    for file, text in ((seed, credentials.seed), (ca, credentials.ca)):
        if text:
            write_private(file, text.encode())
    fields = context(credentials, str(seed) if credentials.seed else "", str(ca) if credentials.ca else "")
    write_private(path, msgspec.json.format(msgspec.json.encode(fields), indent=1) + b"\n")
    return path
