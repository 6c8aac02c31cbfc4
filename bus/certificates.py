"""Encryption on the way between machines: a certificate authority of the instance's own, or files that are given.

The authority's certificate travels inside the credentials file; a client that has it speaks TLS from the first byte and
trusts nobody else, so that nothing between the machines can make it talk in clear.
"""

import datetime as dt
import ipaddress
import socket
from pathlib import Path
from typing import Any

import psutil

from bus.accounts import write_private
from bus.settings import Settings, StateDir
from domain.errors import Unreachable

EVERYWHERE = ("0.0.0.0", "::", "")
_CA_DAYS, _DAYS, _RENEW_DAYS = 3650, 730, 60


class Files:
    """Where they lie: in the state directory, or as the settings say (relative to it)."""

    def __init__(self, state: StateDir, settings: Settings) -> None:
        folder = state.root / "tls"
        self.given = bool(settings.tls_cert)
        self.folder, self.ca_key = folder, folder / "ca-key.pem"
        self.ca = state.root / settings.tls_ca if self.given else folder / "ca.pem"
        self.cert = state.root / settings.tls_cert if self.given else folder / "server.pem"
        self.key = state.root / settings.tls_key if self.given else folder / "server-key.pem"


def is_loopback(address: str) -> bool:
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def wanted(settings: Settings) -> bool:
    """Whether clients must speak TLS: where the setting is silent, wherever other machines can reach the server."""
    return not is_loopback(settings.nats_listen) if settings.tls == "auto" else settings.tls


def names_of(settings: Settings) -> list[str]:
    """Names and addresses under which the server may be reached, for its certificate."""
    names = ["localhost", "127.0.0.1", "::1", *settings.tls_names]
    if settings.nats_listen in EVERYWHERE:
        names += [socket.gethostname(), socket.getfqdn(), settings.host_name()]
        names += [
            a.address.partition("%")[0] for found in psutil.net_if_addrs().values() for a in found if _is_ip(a.family)
        ]
    else:
        names.append(settings.nats_listen)
    return sorted({n for n in names if n})


def _is_ip(family: int) -> bool:
    return family in (socket.AF_INET, socket.AF_INET6)


def server_block(state: StateDir, settings: Settings) -> dict[str, Any]:
    """The `tls` block of server.conf, its files made or renewed where they are ours; {} where none is wanted."""
    if not wanted(settings):
        return {}
    files = Files(state, settings)
    if files.given:
        missing = [str(f) for f in (files.cert, files.key, files.ca) if not f.is_file()]
        if missing:
            raise Unreachable(f"{missing[0]} is not there; correct tls_cert, tls_key and tls_ca in sluice.toml")
    else:
        _make(files, names_of(settings))
    # Clients of ours begin with the handshake, also on a busy machine; the `nats` command waits for the server's first
    # line, and gets it after this while.
    return {"cert_file": str(files.cert), "key_file": str(files.key), "handshake_first": "1s", "timeout": 5}


def authority(state: StateDir, settings: Settings) -> str:
    """The certificate (PEM) that vouches for the server; "" where it speaks in clear."""
    if not wanted(settings):
        return ""
    try:
        return Files(state, settings).ca.read_text()
    except OSError as e:
        raise Unreachable(f"the certificate that vouches for the server cannot be read: {e}") from e


def _make(files: Files, names: list[str]) -> None:
    """An authority for ten years; a server's certificate for two, made anew in time and whenever names are missing."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import ExtendedKeyUsageOID

    files.folder.mkdir(mode=0o700, exist_ok=True)

    def private(path: Path) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        write_private(path, key.private_bytes(serialization.Encoding.PEM, *form))
        return key

    def certificate(subject: str, issuer: str, public: Any, days: int) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        named = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, n)]) for n in (subject, issuer)]
        return (
            x509.CertificateBuilder()
            .subject_name(named[0])
            .issuer_name(named[1])
            .public_key(public)
            .serial_number(x509.random_serial_number())
            # Clocks of machines differ.
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )

    if not (files.ca.exists() and files.ca_key.exists()):
        ca_key = private(files.ca_key)
        made = certificate("Sluice", "Sluice", ca_key.public_key(), _CA_DAYS)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        ca = made.add_extension(usage, critical=True).sign(ca_key, SHA256())
        write_private(files.ca, ca.public_bytes(serialization.Encoding.PEM))
        files.cert.unlink(missing_ok=True)
    ca = x509.load_pem_x509_certificate(files.ca.read_bytes())
    if files.cert.exists() and files.key.exists() and _covers(files.cert, names):
        return
    loaded = serialization.load_pem_private_key(files.ca_key.read_bytes(), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    key = private(files.key)
    alternative = [x509.IPAddress(ipaddress.ip_address(n)) if _is_address(n) else x509.DNSName(n) for n in names]
    cert = (
        certificate("Sluice nats-server", "Sluice", key.public_key(), _DAYS)
        .add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(loaded.public_key()), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(loaded, SHA256())
    )
    write_private(files.cert, cert.public_bytes(serialization.Encoding.PEM))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _covers(path: Path, names: list[str]) -> bool:
    """Whether the certificate names all of these and is good for a while yet."""
    from cryptography import x509

    cert = x509.load_pem_x509_certificate(path.read_bytes())
    found = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    there = {*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))}
    left = cert.not_valid_after_utc - dt.datetime.now(dt.UTC)
    return set(names) <= there and left > dt.timedelta(days=_RENEW_DAYS)
