"""A field for a password or token whose text never rests in the widget's state.

Jupyter can save widget state with the notebook, and sends it to every open view of it. So the browser hands the text
over once, when the field is left; the kernel keeps it outside of the state, empties the field, and echoes nothing.
"""

from __future__ import annotations

from typing import Any

import ipywidgets as w
from traitlets import Unicode

_TAKEN = "entered; it is used once, to log in"


class SecretField(w.Password):  # type: ignore[misc]  # ipywidgets is untyped
    """A password field. Read it with :meth:`take`, once."""

    value = Unicode("", help="Always empty once the kernel has seen it.").tag(sync=True, echo_update=False)

    def __init__(self, description: str, **options: Any) -> None:
        self._secret = ""
        # Not while typing: every letter would become state.
        super().__init__(description=description, continuous_update=False, **options)
        self.observe(self._receive, "value")

    @property
    def given(self) -> bool:
        """Has something been entered?"""
        return bool(self._secret)

    def take(self) -> str:
        """Give the secret and forget it."""
        secret, self._secret = self._secret, ""
        self.placeholder = ""
        return secret

    def _receive(self, change: Any) -> None:
        if change["new"]:
            self._secret = change["new"]
            self.value = ""
            self.placeholder = _TAKEN
