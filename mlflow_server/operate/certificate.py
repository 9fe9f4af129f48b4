"""The server's TLS certificate: the hospital's own, or one from a private authority that is made here with openssl."""

from __future__ import annotations

import os
import re
import secrets
import ssl
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from operate import address
from operate.errors import Problem

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397
"""Browsers refuse certificates that last longer than 398 days."""
WARN_DAYS = 30
_AUTHORITY = "Authority of the MLflow server"
_ELSEWHERE = "is not from this server's own authority: order a new one from who issued it and put it there"
NEW_NAME = "delete tls/, run ./mlops-server init, and give every researcher the new tls/ca.crt"
"""What a new SERVER_NAME takes: the private authority can vouch for the old one only."""
_TIMEOUT = 10.0
_ONE = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class Certificate:
    """What matters of a certificate to the one who runs the server."""

    subject: str
    issuer: str
    names: list[str]
    expires: float
    """Seconds since 1970, UTC."""
    own: bool
    """Whether this server's own authority issued it, so that ``certificate --renew`` makes the next one."""

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
        how = ": run ./mlops-server certificate --renew" if self.own else f" and {_ELSEWHERE}"
        return f"The certificate tls/server.crt {when} ({self.date}){how}"


def read(file: Path) -> Certificate:
    """Read a certificate."""
    if not file.exists():
        raise Problem(
            f"There is no {_shown(file)}: run ./mlops-server init, or put the hospital's own certificate there."
        )
    return parse(_pem(file), file.parent)


def parse(pem: str, tls: Path) -> Certificate:
    """Read the first certificate of a text; `tls` is the folder with the authority that may have issued it."""
    words = ("-noout", "-subject", "-issuer", "-enddate", "-ext", "subjectAltName")
    text = _openssl("x509", *words, given=pem)
    found = dict(re.findall(r"^(subject|issuer|notAfter)=\s*(.*)$", text, re.MULTILINE))
    names = re.findall(r"(?:DNS|IP Address):([^,\s]+)", text)
    expires = ssl.cert_time_to_seconds(found["notAfter"])
    return Certificate(found["subject"], found["issuer"], names, expires, _is_own(pem, tls))


def _is_own(pem: str, tls: Path) -> bool:
    authority = tls / "ca.crt"
    try:
        if _AUTHORITY not in _openssl("x509", "-noout", "-subject", given=_pem(authority)):
            return False
        return _verify(("-no_check_time",), pem, authority) is None
    except (Problem, OSError):
        return False


def served(env: Mapping[str, str]) -> str:
    """Give the certificates that nginx shows now, the server's own first; nothing when it does not answer."""
    name = env["SERVER_NAME"]
    where = f"{address.here(env)}:{env.get('MLFLOW_PORT') or '85'}"
    asked = ["-noservername"] if address.is_address(name) else ["-servername", name]
    try:
        answer = subprocess.run(
            ["openssl", "s_client", "-connect", where, *asked, "-showcerts"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "\n".join(_ONE.findall(answer.stdout))


def is_in(pem: str, file: Path) -> bool:
    """Tell whether a file holds exactly these certificates, chain and all."""
    there, here = (list(map(ssl.PEM_cert_to_DER_cert, _ONE.findall(text))) for text in (pem, _pem(file)))
    return there == here


def problems(tls: Path, name: str) -> list[str]:
    """Name what would keep a browser from accepting the certificate; one sentence each."""
    certificate, key = tls / "server.crt", tls / "server.key"
    for file in (certificate, key):
        if not file.exists():
            return [f"{_shown(file)} is missing: run ./mlops-server init, or put the hospital's own there."]
        if file.is_dir():
            return [
                f"{_shown(file)} is a folder, as engines make where a file is missing: delete it, put the file there."
            ]
        if not os.access(file, os.R_OK):
            return [f"{_shown(file)} cannot be read by you: run this as the user who made it."]
    try:
        current = read(certificate)
        matches = _belong(certificate, key)
        question = "-checkip" if address.is_address(name) else "-checkhost"
        named = "does match" in _openssl("x509", "-in", str(certificate), "-noout", question, name)
        mistrust = _mistrust(tls) if current.days_left >= 0 else None
    except Problem as error:
        return [str(error)]
    found = []
    if not matches:
        found.append(_TWO_ORDERS)
    if not named:
        how = NEW_NAME if current.own else "order one for this name from who issued it and put it there"
        found.append(
            f"tls/server.crt is for {', '.join(current.names) or 'no name'}, not for SERVER_NAME {name}: {how}."
        )
    if current.days_left < 0:
        found.append(current.warning or "")
    if mistrust:
        found.append(f"tls/server.crt is {mistrust}.")
    return found


_TWO_ORDERS = (
    "tls/server.key is not the key of the first certificate in tls/server.crt: the two must come from the same order."
)


def _mistrust(tls: Path) -> str | None:
    """Check the chain as a researcher's machine does, which trusts ca.crt; or, without one, what the system trusts."""
    certificate, authority = tls / "server.crt", tls / "ca.crt"
    words = ("-purpose", "sslserver", "-untrusted", str(certificate))
    if authority.exists():
        _pem(authority)
    return _verify(words, _pem(certificate), authority if authority.exists() else None)


def _verify(words: Sequence[str], pem: str, authority: Path | None) -> str | None:
    """Check the first certificate of a text; give why it is not trusted."""
    environment = dict(os.environ)
    if authority:
        words = [*words, "-CAfile", str(authority)]
        # Without these, openssl would trust the system's authorities besides.
        environment.update(SSL_CERT_DIR=os.devnull, SSL_CERT_FILE=os.devnull)
    answer = subprocess.run(["openssl", "verify", *words], input=pem, capture_output=True, text=True, env=environment)
    if answer.returncode == 0:
        return None
    said = re.search(r"^error (\d+) at \d+ depth lookup: ?(.*)$", answer.stderr, re.MULTILINE)
    return address.mistrust(int(said[1]), said[2]) if said else "not trusted: openssl verify refuses it"


def _belong(certificate: Path, key: Path) -> bool:
    """Tell whether a key is that of a certificate.

    Raises
    ------
    Problem
        When nginx could not read the key.
    """
    shown, text = _shown(key), key.read_bytes()
    if b"PRIVATE KEY-----" not in text:
        raise Problem(f"{shown} is no key in PEM form, a text that begins with -----BEGIN PRIVATE KEY-----")
    if b"BEGIN ENCRYPTED" in text or b"4,ENCRYPTED" in text:
        raise Problem(
            f"{shown} has a passphrase, and nobody is there to type it: run "
            f"openssl pkey -in {shown} -out tls/new.key && mv tls/new.key {shown}"
        )
    public = _openssl("x509", "-noout", "-pubkey", given=_pem(certificate))
    return public == _openssl("pkey", "-in", str(key), "-pubout", "-passin", "pass:")


def _pem(file: Path) -> str:
    content = file.read_bytes()
    if b"-----BEGIN CERTIFICATE-----" in content:
        return content.decode("utf-8", "replace")
    shown = _shown(file)
    if content[:1] == b"\x30":
        raise Problem(
            f"{shown} is in DER form, and PEM is needed: run "
            f"openssl x509 -inform DER -in {shown} -out tls/new.crt && mv tls/new.crt {shown}"
        )
    raise Problem(f"{shown} is no certificate in PEM form, a text that begins with -----BEGIN CERTIFICATE-----")


def make_authority(tls: Path, name: str) -> None:
    """Make a private authority that can vouch for `name` and for no other host."""
    tls.mkdir(mode=0o755, exist_ok=True)
    tls.chmod(0o755)
    # Whoever steals this key can imitate this one server, and no other site that researchers visit.
    if address.is_address(name):
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
        configuration = _configuration(Path(scratch), f"{_AUTHORITY} {name}", extensions)
        _openssl(
            *("req", "-x509", "-new", "-sha256", "-days", str(AUTHORITY_DAYS), "-set_serial", _serial()),
            *("-config", str(configuration), "-extensions", "made", "-key", str(key), "-out", str(certificate)),
        )
        _place(key, tls / "ca.key", 0o600)
        _place(certificate, tls / "ca.crt", 0o644)


def renew(tls: Path, name: str) -> None:
    """Make a new key and certificate in the place of those that the private authority issued, and of no others.

    Raises
    ------
    Problem
        When those that are here are not from the private authority, or it cannot sign for `name`.
    """
    certificate, key = tls / "server.crt", tls / "server.key"
    if certificate.exists() and not read(certificate).own:
        raise Problem(f"tls/server.crt {_ELSEWHERE}.")
    if key.exists() and not (certificate.exists() and _belong(certificate, key)):
        raise Problem(f"{_TWO_ORDERS} Put the right one back, or delete it and run this again.")
    make_server_certificate(tls, name)


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
        raise Problem(f"The authority tls/ca.crt has expired: {NEW_NAME}.")
    extensions = f"""
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {"IP" if address.is_address(name) else "DNS"}:{name}
"""
    with tempfile.TemporaryDirectory() as scratch:
        key, request, certificate = (Path(scratch, one) for one in ("server.key", "server.csr", "server.crt"))
        _make_key(key)
        # openssl takes a common name of digits and dots for a host name, which an authority for an address excludes.
        common_name = f"MLflow server at {name}" if address.is_address(name) else name
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
                f"The authority tls/ca.crt may not vouch for {name}, only for the name it was made for: {NEW_NAME}."
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


def _openssl(*arguments: str, given: str = "") -> str:
    try:
        answer = subprocess.run(["openssl", *arguments], input=given, capture_output=True, text=True)
    except FileNotFoundError:
        raise Problem("The program openssl is not installed: install the package openssl of your system.") from None
    if answer.returncode:
        said = [line for line in answer.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise Problem(f"openssl {arguments[0]} did not succeed: {said[0].strip()}")
    return answer.stdout
