"""What the four widgets have in common: a title, a line that speaks to the person, busy controls, plain errors."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal
from weakref import WeakMethod

import ipywidgets as w

from ...errors import MlopsLabError

Kind = Literal["info", "done", "error"]

_SIGNS = {"info": "", "done": "✓ ", "error": "✕ "}
_COLOURS = {"info": "inherit", "done": "var(--jp-success-color1, #1a7f4e)", "error": "var(--jp-error-color1, #c62828)"}
LINE = "1px solid color-mix(in srgb, currentColor 18%, transparent)"


class Section(w.VBox):  # type: ignore[misc]  # ipywidgets is untyped
    """One widget of mlops_lab.

    Parameters
    ----------
    title
        Its heading.
    children
        Its content; the line that speaks to the person comes last, above `below`.
    controls
        What cannot be used while work is under way.
    below
        Content under that line.
    """

    def __init__(self, title: str, children: Sequence[Any], controls: Sequence[Any], below: Sequence[Any] = ()) -> None:
        self.says = w.HTML()
        self._controls = list(controls)
        heading = w.HTML(f'<strong role="heading" aria-level="4" style="font-size:15px">{html.escape(title)}</strong>')
        super().__init__(
            [heading, *children, self.says, *below],
            layout=w.Layout(max_width="960px", padding="8px 12px", border=LINE),
        )

    def tell(self, text: str, kind: Kind = "info") -> None:
        """Show one line of plain text."""
        shown = html.escape(f"{_SIGNS[kind]}{text}") if text else ""
        role = ' role="alert"' if kind == "error" else ' role="status"'
        self.says.value = f'<span{role} style="color:{_COLOURS[kind]}">{shown}</span>' if shown else ""

    def tell_error(self, error: BaseException) -> None:
        """Show what went wrong as a sentence, never as a traceback."""
        if isinstance(error, MlopsLabError):
            self.tell(str(error), "error")
        elif isinstance(error, KeyboardInterrupt):
            self.tell("Interrupted.", "error")
        else:
            # The type alone: the text of an unforeseen error may hold what was typed.
            self.tell(
                f"This did not work ({type(error).__name__}). It is a mistake in mlops_lab: please report it.", "error"
            )

    @contextmanager
    def working(self, doing: str) -> Iterator[None]:
        """Show `doing` and lock the controls meanwhile; an error ends as a sentence in the widget."""
        before = {control: control.disabled for control in self._controls}
        self.tell(f"{doing} …")
        busy = self.says.value
        for control in self._controls:
            control.disabled = True
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            self.tell_error(error)
        else:
            if self.says.value == busy:
                self.tell("")
        finally:
            for control, disabled in before.items():
                control.disabled = disabled
            self.settle()

    def settle(self) -> None:
        """Enable and disable controls as the present state wants it."""


def wide(label: int = 130) -> dict[str, Any]:
    """Give the look of one field, `label` pixels of it for its name; each field needs a layout of its own."""
    return {"style": {"description_width": f"{label}px"}, "layout": w.Layout(width="480px")}


def offer(choice: Any, options: Sequence[Any], wanted: Any = None) -> None:
    """Give a dropdown new options and choose `wanted` where it is among them, else the first.

    Parameters
    ----------
    options
        Values, or pairs of label and value.
    """
    choice.options = options
    values = [one[1] if isinstance(one, tuple) else one for one in options]
    if values:
        choice.value = wanted if wanted in values else values[0]


class Pulse:
    """Calls a method every few seconds from a thread, as long as the method says True and its widget lives."""

    def __init__(self, method: Callable[[], bool], seconds: float) -> None:
        self._method = WeakMethod(method)
        self._seconds = seconds
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Is it calling at present?"""
        thread = self._thread
        return thread is not None and thread.is_alive() and not self._stop.is_set()

    def start(self) -> None:
        """Begin to call, unless it does already."""
        with self._lock:
            if not self.running:
                self._stop = threading.Event()
                self._thread = threading.Thread(
                    target=self._beat, args=(self._stop,), name="mlops-lab-widget", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """Call no more."""
        self._stop.set()

    def _beat(self, stop: threading.Event) -> None:
        while not stop.wait(self._seconds):
            method = self._method()
            if method is None or not method():
                stop.set()
            del method
