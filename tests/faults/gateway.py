"""A proxy in front of a real MLflow server that refuses, loses or holds back what a test tells it to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

SIGN_IN_PAGE = b"<html><body>Welcome to the guest network. Please sign in.</body></html>"


class Gateway(ThreadingHTTPServer):
    """The proxy.

    Attributes
    ----------
    refuse
        Gives the status with which a request (path, body) is refused; 0: it is passed on. A 200 answers ``{}``.
    sign_in
        Gives True for a request that is answered with a page of the network, as a captive portal does: 200 and HTML.
    before
        Called before a request is passed on.
    after
        Called when the server has answered a request; True: the answer is lost on its way back.
    retry_after
        Header of refusals.
    open
        While it is clear, requests are accepted and not answered.
    """

    daemon_threads = True

    def __init__(self, server: str) -> None:
        super().__init__(("127.0.0.1", 0), _Pass)
        self.server = server
        self.uri = f"http://127.0.0.1:{self.server_address[1]}"
        self.refuse: Callable[[str, bytes], int] = lambda path, body: 0
        self.sign_in: Callable[[str], bool] = lambda path: False
        self.before: Callable[[str, bytes], None] = lambda path, body: None
        self.after: Callable[[str, bytes], bool] = lambda path, body: False
        self.retry_after = ""
        self.open = threading.Event()
        self.open.set()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that gave up waiting."""


class _Pass(BaseHTTPRequestHandler):
    server: Gateway
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.open.wait(120)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.before(self.path, body)
        status = self.server.refuse(self.path, body)
        if self.server.sign_in(self.path):
            status, answer, kind = 200, SIGN_IN_PAGE, "text/html"
        elif status:
            answer = b"{}" if status == 200 else b"<html>too much</html>"
            kind = "application/json" if status == 200 else "text/html"
        else:
            passed = {name: value for name, value in self.headers.items() if name.lower() in ("content-type", "accept")}
            there = httpx.request(
                self.command, self.server.server + self.path, content=body, headers=passed, timeout=60, trust_env=False
            )
            status, answer, kind = there.status_code, there.content, there.headers.get("content-type", "text/plain")
            if self.server.after(self.path, body):
                self.close_connection = True
                return
        self.send_response(status)
        if self.server.retry_after and status >= 400:
            self.send_header("Retry-After", self.server.retry_after)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
