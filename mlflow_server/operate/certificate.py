"""The server's TLS certificate: the hospital's own, or one from a private authority that is made here with openssl."""

from __future__ import annotations

import os
import re
import secrets
import ssl
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from operate.address import is_address
from operate.errors import Problem

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397
"""Browsers refuse certificates that last longer than 398 days."""
WARN_DAYS = 30


@dataclass(frozen=True)
class Certificate:
    """What matters of a certificate to the one who runs the server."""

    subject: str
    issuer: str
    names: list[str]
    expires: float
    """Seconds since 1970, UTC."""

    @property
    def days_left(self) -> int:
        """Whole days until it expires; negative once it has."""
        return int((self.expires - time.time()) // 86400)

    @property
    def date(self) -> str:
        """The last day, as in 2027-03-31."""
        return time.strftime("%Y-%m-%d", time.gmtime(self.expires))

    @property
    def warning(self) -> str | None:
        """One line when it expires soon."""
        if self.days_left >= WARN_DAYS:
            return None
        when = f"expires in {self.days_left} days" if self.days_left >= 0 else "has expired"
        return f"The certificate tls/server.crt {when} ({self.date}): run ./mlops-server certificate --renew"


def read(file: Path) -> Certificate:
    """Read a certificate."""
    if not file.exists():
        raise Problem(
            f"There is no {_shown(file)}: run ./mlops-server init, or put the hospital's own certificate there."
        )
    text = _openssl("x509", "-in", str(file), "-noout", "-subject", "-issuer", "-enddate", "-ext", "subjectAltName")
    found = dict(re.findall(r"^(subject|issuer|notAfter)=\s*(.*)$", text, re.MULTILINE))
    names = re.findall(r"(?:DNS|IP Address):([^,\s]+)", text)
    return Certificate(found["subject"], found["issuer"], names, ssl.cert_time_to_seconds(found["notAfter"]))


def problems(tls: Path, name: str) -> list[str]:
    """Name what would keep a browser from accepting the certificate; one sentence each."""
    certificate, key = tls / "server.crt", tls / "server.key"
    for file in (certificate, key):
        if not file.exists():
            return [f"{_shown(file)} is missing: run ./mlops-server init, or put the hospital's own there."]
        if not os.access(file, os.R_OK):
            return [f"{_shown(file)} cannot be read by you: run this as the user who made it."]
    try:
        read_one = read(certificate)
        public = _openssl("x509", "-in", str(certificate), "-noout", "-pubkey")
        matches = public == _openssl("pkey", "-in", str(key), "-pubout", "-passin", "pass:")
        question = "-checkip" if is_address(name) else "-checkhost"
        named = "does match" in _openssl("x509", "-in", str(certificate), "-noout", question, name)
    except Problem as error:
        return [str(error)]
    found = []
    if not matches:
        found.append("tls/server.key is not the key of tls/server.crt: the two files must come from the same order.")
    if not named:
        found.append(
            f"tls/server.crt is for {', '.join(read_one.names) or 'no name'}, not for SERVER_NAME {name}: "
            "run ./mlops-server certificate --renew, or put a certificate for this name there."
        )
    if read_one.days_left < 0:
        found.append(read_one.warning or "")
    return found


def make_authority(tls: Path, name: str) -> None:
    """Make a private authority that can vouch for `name` and for no other host."""
    tls.mkdir(mode=0o755, exist_ok=True)
    tls.chmod(0o755)
    # Whoever steals this key can imitate this one server, and no other site that researchers visit.
    if is_address(name):
        limits = f"permitted;IP:{name}/255.255.255.255,permitted;DNS:invalid"
    else:
        nowhere = "0:0:0:0:0:0:0:0"
        limits = f"permitted;DNS:{name},excluded;IP:0.0.0.0/0.0.0.0,excluded;IP:{nowhere}/{nowhere}"
    extensions = f"""
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
nameConstraints = critical, {limits}
"""
    with tempfile.TemporaryDirectory() as scratch:
        key, certificate = Path(scratch, "ca.key"), Path(scratch, "ca.crt")
        _make_key(key)
        configuration = _configuration(Path(scratch), f"Authority of the MLflow server {name}", extensions)
        _openssl(
            *("req", "-x509", "-new", "-sha256", "-days", str(AUTHORITY_DAYS), "-set_serial", _serial()),
            *("-config", str(configuration), "-extensions", "made", "-key", str(key), "-out", str(certificate)),
        )
        _place(key, tls / "ca.key", 0o600)
        _place(certificate, tls / "ca.crt", 0o644)


def make_server_certificate(tls: Path, name: str) -> None:
    """Make a new key and a certificate for `name`, signed by the private authority.

    Raises
    ------
    Problem
        When the authority's key is not here, or the authority may not vouch for `name`.
    """
    if not (tls / "ca.key").exists() or not (tls / "ca.crt").exists():
        raise Problem(
            "tls/ca.key and tls/ca.crt are not both here, so no new certificate can be signed: put them back, "
            "or put a certificate of the hospital's own authority into tls/server.crt and tls/server.key."
        )
    days = min(SERVER_DAYS, read(tls / "ca.crt").days_left)
    if days < 1:
        raise Problem(
            "The authority tls/ca.crt has expired: delete tls/, run ./mlops-server init, hand out the new ca.crt."
        )
    extensions = f"""
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {"IP" if is_address(name) else "DNS"}:{name}
"""
    with tempfile.TemporaryDirectory() as scratch:
        key, request, certificate = (Path(scratch, one) for one in ("server.key", "server.csr", "server.crt"))
        _make_key(key)
        # openssl takes a common name of digits and dots for a host name, which an authority for an address excludes.
        common_name = f"MLflow server at {name}" if is_address(name) else name
        configuration = _configuration(Path(scratch), common_name, extensions)
        _openssl("req", "-new", "-config", str(configuration), "-key", str(key), "-out", str(request))
        _openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(tls / "ca.crt"), "-CAkey", str(tls / "ca.key")),
            *("-sha256", "-days", str(days), "-set_serial", _serial(), "-extfile", str(configuration)),
            *("-extensions", "made", "-out", str(certificate)),
        )
        try:
            _openssl("verify", "-CAfile", str(tls / "ca.crt"), str(certificate))
        except Problem:
            raise Problem(
                f"The authority tls/ca.crt may not vouch for {name}, only for the name it was made for: delete tls/, "
                "run ./mlops-server init, and give everybody the new tls/ca.crt."
            ) from None
        _place(key, tls / "server.key", 0o600)
        _place(certificate, tls / "server.crt", 0o644)


def _make_key(file: Path) -> None:
    file.touch(mode=0o600)
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(file))


def _configuration(scratch: Path, common_name: str, extensions: str) -> Path:
    file = scratch / "openssl.cnf"
    # A common name has 64 characters at most; clients read subjectAltName.
    file.write_text(
        f"[req]\nprompt = no\ndistinguished_name = who\n[who]\nO = MLflow server\nCN = {common_name[:64]}\n"
        f"[made]\n{extensions}",
        "utf-8",
    )
    return file


def _place(made: Path, file: Path, mode: int) -> None:
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_bytes(made.read_bytes())
    new.chmod(mode)
    new.replace(file)


def _serial() -> str:
    return f"0x{secrets.randbits(126) | 1 << 126:x}"


def _shown(file: Path) -> str:
    return f"tls/{file.name}"


def _openssl(*arguments: str) -> str:
    try:
        answer = subprocess.run(["openssl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except FileNotFoundError:
        raise Problem("The program openssl is not installed: install the package openssl of your system.") from None
    if answer.returncode:
        said = [line for line in answer.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise Problem(f"openssl {arguments[0]} did not succeed: {said[0].strip()}")
    return answer.stdout
