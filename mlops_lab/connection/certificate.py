"""Reads the certificate that a server shows, for a sentence about it: whoever is refused should know what to ask for.

Nothing is trusted here and nothing is sent but the handshake; the check itself is the TLS library's.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from cryptography.x509 import Name

PATIENCE = 2.0
"""Seconds for the handshake."""
_LONGEST_NAME = 80


class Shown(msgspec.Struct):
    """What a certificate says of itself; a liar's may say anything."""

    issuer: str = ""
    """Who signed it; empty where it cannot be read."""
    names: tuple[str, ...] = ()
    """The computers that it was issued for."""


def speaks_tls(host: str, port: int) -> bool:
    """Tell whether the other side answers a TLS handshake."""
    return _handshake(host, port) is not None


def shown(host: str, port: int) -> Shown:
    """Read the certificate that `host` shows; nothing in it where that fails."""
    certificate = _handshake(host, port)
    if not certificate:
        return Shown()
    try:
        from cryptography import x509

        read = x509.load_der_x509_certificate(certificate)
        issuer = _called(read.issuer)
    except (ImportError, ValueError):  # mlflow brings the package; a certificate may be malformed
        return Shown()
    try:
        alternative = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [*alternative.get_values_for_type(x509.DNSName)]
        names += [str(address) for address in alternative.get_values_for_type(x509.IPAddress)]
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        names = []
    return Shown(issuer, tuple(clean for name in names if (clean := _clean(name))))


def _handshake(host: str, port: int) -> bytes | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        plain = socket.create_connection((host, port), timeout=PATIENCE)
        with plain, context.wrap_socket(plain, server_hostname=host) as tls:
            return tls.getpeercert(binary_form=True) or b""
    except (OSError, ValueError):
        return None


def _called(name: Name) -> str:
    from cryptography.x509.oid import NameOID

    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        for attribute in name.get_attributes_for_oid(kind):
            return _clean(str(attribute.value))
    return ""


def _clean(text: str) -> str:
    """Leave what can stand in a sentence: the text comes from a stranger."""
    return "".join(sign for sign in text if sign.isprintable() and sign not in "`'\"")[:_LONGEST_NAME].strip()
