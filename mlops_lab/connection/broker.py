"""The connection of one process: log in, log out, the embedded server, and how it all stands, for panel and magics.

The session file is the truth, not this object's memory: a login made in a kernel shows in the panel, and the other
way round. Thread-safe; every method but :meth:`Broker.state` may take seconds.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import socket
import threading
from pathlib import Path

import msgspec

from mlops_lab.connection import embedded, process
from mlops_lab.connection.check import check_login
from mlops_lab.connection.errors import ConnectionProblem, NotConnected, ServerFailed, SessionNotKept, UnsafeSession
from mlops_lab.connection.launch import interpreter
from mlops_lab.connection.model import ConnectionState, EmbeddedServer, LoginRequest
from mlops_lab.connection.rest import TrackingServer
from mlops_lab.connection.session import (
    POINTERS,
    SECRETS,
    SESSION_VARIABLE,
    Session,
    point,
    read_session,
    remove_session,
    write_session,
)
from mlops_lab.connection.watch import Watch
from mlops_lab.errors import MlopsLabError

STOP_PATIENCE = 15.0
"""Seconds to wait for a start that was under way when Stop was pressed."""


class Broker:
    """Keeps one session file, and the environment pointers that new kernels inherit.

    In the process that makes the session (the Jupyter server) it removes the file at :meth:`close`. In a kernel, where
    ``MLOPS_LAB_SESSION`` names `session_path` already, it is a guest: it reads and writes the same file and leaves it.

    The embedded server belongs to the person: it outlives :meth:`close`, and with it JupyterLab, until
    :meth:`stop_embedded` or ``mlops-lab server stop``.

    Parameters
    ----------
    session_path
        The session file. Its folder should be private, e.g. Jupyter's runtime directory.
    """

    def __init__(self, session_path: str | os.PathLike[str]) -> None:
        self._path = Path(session_path)
        self._lock = threading.RLock()
        self._guest = os.environ.get(SESSION_VARIABLE) == str(self._path)
        self._before = {name: os.environ.get(name) for name in (*POINTERS, *SECRETS)}
        self._server: tuple[Session, TrackingServer] | None = None
        self._watch = Watch()
        self._pointed: Session | None = None
        self._turn = 0
        """Counts decisions of the user, so that a slow start does not undo a later one."""
        self._stopped = False
        """Stop was pressed while a start was under way."""
        self._wanted = -1
        """The turn at which the embedded server was last asked for."""
        self._left = False
        """Logged out on purpose: then a server that we find running is not joined unasked."""
        self._starter: threading.Thread | None = None
        self._starting: EmbeddedServer | None = None
        self._problem: EmbeddedServer | None = None
        self._begin()
        atexit.register(self.close)

    # What the panel asks for

    def login(self, request: LoginRequest) -> ConnectionState:
        """Check the login with the server and keep it; one that fails leaves the earlier session as it was.

        Raises
        ------
        ConnectionProblem
            Unreachable, WrongCredentials, NotMlflow and so on, each with its sentence.
        """
        session = check_login(request)
        self._recognise(session)
        with self._lock:
            self._turn += 1
            self._left = False
            self._keep(session)
            self._watch.confirm(session)
        return self.state()

    def logout(self) -> ConnectionState:
        """Forget the session and its secret."""
        with self._lock:
            self._turn += 1
            self._left = True
            self._drop()
        return self.state()

    def state(self) -> ConnectionState:
        """Say how things stand; cheap enough to be polled. A server that is down is a state, never an exception."""
        local = self._embedded()
        try:
            session = self._follow(local)
        except (UnsafeSession, SessionNotKept) as problem:
            return ConnectionState("unreachable", local, message=problem.message, hint=problem.hint)
        if session is None:
            return ConnectionState("disconnected", local)
        if session.embedded and local.state == "starting":
            return self._described(session, local, NotConnected("The embedded server is starting."))
        if session.embedded and local.state != "running":
            down = NotConnected("The embedded server is not running.", "Start it again; its runs are kept.")
            # Its address tells the panel that it is this server which is missed.
            local = msgspec.structs.replace(local, uri=session.uri)
            return self._described(session, local, down)
        found = self._watch.look(session, self._server_of(session))
        if found.session is not None and found.session != session:
            with self._lock, contextlib.suppress(UnsafeSession, SessionNotKept):
                if self._read() == session:
                    self._keep(found.session)
                    session = found.session
        return self._described(session, local, found.problem)

    def server(self) -> TrackingServer:
        """Give the server that we are logged in to.

        Raises
        ------
        NotConnected
            When there is none.
        """
        session = self._read()
        if session is None:
            raise NotConnected("No MLflow server is connected.", "Start the embedded server, or log in to yours.")
        return self._server_of(session)

    def start_embedded(self, port: int | None = None) -> ConnectionState:
        """Start the embedded server in the background and connect to it when it is up; return at once.

        Raises
        ------
        PortTaken
            When `port` was asked for and another program has it.
        ServerFailed
            When this environment has no MLflow to start.
        """
        running = embedded.status()
        if running.state != "running":
            if port is not None and running.state != "starting":
                embedded.check_port(port)
            interpreter(None)
        with self._lock:
            self._turn += 1
            self._left = False
            self._problem = None
            if running.state == "running" and running.uri:
                self._join(running.uri)
            elif self._starting is None:
                self._stopped = False
                self._starting = EmbeddedServer(state="starting", step="starting a process")
                self._starter = threading.Thread(
                    target=self._start, args=(port,), name="mlops-lab-embedded-start", daemon=True
                )
                self._starter.start()
            self._wanted = self._turn
        return self.state()

    def stop_embedded(self) -> ConnectionState:
        """Stop the embedded server, whoever started it, and leave it if we are connected to it.

        Raises
        ------
        ServerFailed
            When it does not end.
        """
        with self._lock:
            self._turn += 1
            self._problem = None
            self._stopped = self._starting is not None
            starter = self._starter
        embedded.stop()
        if starter is not None:
            # It notices that it is not wanted any more, also where it had not begun when we stopped.
            starter.join(STOP_PATIENCE)
        with self._lock, contextlib.suppress(UnsafeSession):
            session = self._read()
            if session is not None and session.embedded:
                self._drop()
        return self.state()

    def close(self) -> None:
        """End our part: remove the session file and put the environment back. The embedded server goes on."""
        atexit.unregister(self.close)
        with self._lock:
            self._turn += 1
            if self._guest:
                return
            remove_session(self._path)
            for name, value in self._before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

    # How it is done

    def _begin(self) -> None:
        """Find the first connection: the environment's, else the embedded server if it runs already."""
        if self._guest:
            return
        try:
            # Before our own path is set: an outer Jupyter's session, or MLflow's own variables.
            session = read_session()
        except UnsafeSession:
            session = None
        self._clean_up()
        remove_session(self._path)
        os.environ[SESSION_VARIABLE] = str(self._path)
        # A file that cannot be written, or a home that cannot be made, must not keep JupyterLab from starting; the
        # first request of the panel says it.
        with contextlib.suppress(MlopsLabError, OSError):
            if session is not None:
                self._recognise(session)
                self._keep(session)
            else:
                self._follow(embedded.status())

    def _clean_up(self) -> None:
        """Remove session files whose Jupyter server died without doing so."""
        name = re.fullmatch(r"(.*\D)\d+\.json", self._path.name)
        for file in self._path.parent.glob(f"{name[1]}*.json") if name else []:
            with contextlib.suppress(UnsafeSession, OSError):
                old = read_session(file)
                if old and old.keeper and old.host == socket.gethostname() and not process.alive(old.keeper):
                    remove_session(file)

    def _follow(self, local: EmbeddedServer) -> Session | None:
        """Give the present session, joining the embedded server where it came up by other hands."""
        with self._lock:
            session = self._read()
            if local.state == "running" and local.uri and not self._guest:
                moved = session is not None and session.embedded and session.uri != local.uri
                if moved or (session is None and not self._left and self._starting is None):
                    session = self._join(local.uri)
            return session

    @staticmethod
    def _recognise(session: Session) -> None:
        """Mark a session whose typed address is that of our own embedded server."""
        session.embedded = False
        with contextlib.suppress(MlopsLabError, OSError):
            session.embedded = session.auth == "none" and session.uri == embedded.status().uri

    def _join(self, uri: str) -> Session:
        return self._keep(Session(uri=uri, embedded=True))

    def _keep(self, session: Session) -> Session:
        session.host = socket.gethostname()
        earlier = None
        if self._guest:
            with contextlib.suppress(UnsafeSession):
                earlier = read_session(self._path)
            session.keeper = earlier.keeper if earlier else None
        else:
            session.keeper = process.know(os.getpid())
        write_session(self._path, session)
        self._point(session)
        return session

    def _drop(self) -> None:
        remove_session(self._path)
        self._server = None
        self._point(None)

    def _read(self) -> Session | None:
        session = read_session(self._path)
        with self._lock:
            if session != self._pointed:
                # The file changed by other hands: a login or logout in a kernel.
                self._left = session is None
                self._point(session)
        return session

    def _point(self, session: Session | None) -> None:
        with self._lock:
            point(os.environ, session, self._path)
            self._pointed = session

    def _server_of(self, session: Session) -> TrackingServer:
        with self._lock:
            if self._server is None or self._server[0].request() != session.request():
                self._server = (session, TrackingServer.of(session))
            return self._server[1]

    def _embedded(self) -> EmbeddedServer:
        with self._lock:
            starting, problem = self._starting, self._problem
        if starting is not None:
            return starting
        try:
            found = embedded.status()
        except (MlopsLabError, OSError) as error:
            return EmbeddedServer(state="failed", message=str(error))
        return problem if problem is not None and found.state in ("stopped", "failed") else found

    def _start(self, port: int | None) -> None:
        problem: EmbeddedServer | None = None
        running: EmbeddedServer | None = None
        try:
            running = embedded.start(port, report=self._report, cancelled=lambda: self._stopped)
        except MlopsLabError as error:
            problem = EmbeddedServer(state="failed", message=error.message, hint=error.hint or None)
        except Exception as error:
            failed = ServerFailed("The embedded server could not be started.", f"The system says: {error}")
            problem = EmbeddedServer(state="failed", message=failed.message, hint=failed.hint)
        with self._lock:
            # Joined before 'starting' ends, so that nobody sees it up and us disconnected in between.
            if running is not None and running.state == "running" and running.uri and self._turn == self._wanted:
                try:
                    self._join(running.uri)
                except ConnectionProblem as error:
                    problem = EmbeddedServer(state="failed", message=error.message, hint=error.hint)
            self._problem = problem
            self._starting = None

    def _report(self, current: EmbeddedServer) -> None:
        with self._lock:
            if current.state == "starting":
                self._starting = current

    @staticmethod
    def _described(session: Session, local: EmbeddedServer, problem: ConnectionProblem | None) -> ConnectionState:
        return ConnectionState(
            status="connected" if problem is None else "unreachable",
            embedded=local,
            uri=session.uri,
            auth=session.auth,
            user=session.user,
            server_version=session.server_version,
            message=problem.message if problem else None,
            hint=(problem.hint or None) if problem else None,
        )
