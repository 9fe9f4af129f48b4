"""The line magics, from `%mlops_login` to `%mlops_compare`; each is a thin adapter over a room."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .named import bound_by_use
from .options import BadOptions, Options, track_options, without_remark

if TYPE_CHECKING:
    from .cells import TrackedCells
    from .follow import Follower


class LineMagics:
    """The magics of mlops_lab. Every one tells a mistake in one sentence."""

    def __init__(self, shell: Any, cells: TrackedCells, follower: Follower) -> None:
        self._shell = shell
        self._cells = cells
        self._follower = follower
        for name, magic in self._lines().items():
            shell.register_magic_function(magic, "line", name)
        shell.register_magic_function(self.track_cell, "cell", "mlops_track")

    def remove(self) -> None:
        """Take the magics out of the shell."""
        registered = self._shell.magics_manager.magics
        for name in self._lines():
            registered["line"].pop(name, None)
        registered["cell"].pop("mlops_track", None)

    def _lines(self) -> dict[str, Callable[[str], None]]:
        return {
            "mlops_track": self.track,
            "mlops_login": self.login,
            "mlops_status": self.status,
            "mlops_use": self.use,
            "mlops_runs": self.runs,
            "mlops_compare": self.compare,
            "mlops_sync": self.sync,
        }

    def track(self, line: str) -> None:
        """%mlops_track on [options of %%mlops_track] | off: every following cell belongs to one run."""
        word, _, rest = without_remark(line).strip().partition(" ")
        if word == "on":
            self._cells.turn_on(track_options("%mlops_track on").read(rest))
        elif word == "off" and not rest.strip():
            if not self._cells.turn_off():
                print("No run is open here.")
        else:
            raise BadOptions("%mlops_track takes on or off.", "For one cell, write %%mlops_track in its first line.")

    def track_cell(self, line: str, cell: str) -> None:
        """Track the cell as one run: the options are those of ``%mlops_track on``.

        %%mlops_track [--experiment E] [--run-name N] [--data NAME@VERSION ...] [--tag K=V ...] [--seed S] [--offline]
        """
        # Cells never come here: the input transformer takes the line out first. Only run_cell_magic() does.
        raise BadOptions("%%mlops_track tracks a whole cell.", "Write it in the cell's first line.")

    def login(self, line: str) -> None:
        """%mlops_login [URI] [--user NAME | --token] [--ca FILE]: log in to an MLflow server; asks for the secret."""
        from .login import log_in, login_options

        print(log_in(login_options().read(line)))
        self._follower.follow()

    def status(self, line: str) -> None:
        """%mlops_status: the server, the login, the open run, and what waits to be sent."""
        Options("%mlops_status").read(line)
        from .status import status_lines

        print("\n".join(status_lines()))

    def use(self, line: str) -> None:
        """%mlops_use NAME@VERSION [--as VARIABLE]: fetch and verify a dataset version, bind its path to a variable."""
        options = Options("%mlops_use")
        options.add_argument("spec", metavar="NAME@VERSION")
        options.add_argument("--as", metavar="VARIABLE", dest="variable", type=_identifier)
        chosen = options.read(line)
        from ...tracking import use_dataset

        path = use_dataset(chosen.spec)
        variable = chosen.variable or bound_by_use(chosen.spec)
        self._shell.push({variable: path})
        print(f"{variable} = {str(path)!r}  ({chosen.spec}, verified, read-only)")

    def runs(self, line: str) -> None:
        """%mlops_runs [FILTER]: the newest runs; FILTER in MLflow's language, e.g. metrics.val_dice > 0.8."""
        from .show import show_runs

        show_runs(without_remark(line).strip())

    def compare(self, line: str) -> None:
        """%mlops_compare RUN RUN ...: compare runs, each given by its id, the beginning of it, or its name."""
        options = Options("%mlops_compare")
        options.add_argument("runs", metavar="RUN", nargs="+")
        from .show import show_comparison

        show_comparison(options.read(line).runs)

    def sync(self, line: str) -> None:
        """%mlops_sync [--experiment NAME] [--preview [RUN]]: send the runs that are still on this computer.

        NAME is for those that their own experiment does not take. --preview sends nothing: it shows what would be sent.
        """
        options = Options("%mlops_sync")
        options.add_argument("--experiment", metavar="NAME")
        options.add_argument("--preview", metavar="RUN", nargs="?", const="")
        chosen = options.read(line)
        if chosen.preview is not None:
            from .preview import show_preview

            show_preview(chosen.preview)
            return
        from ...tracking import sync

        print(sync(experiment=chosen.experiment))


def _identifier(text: str) -> str:
    if not text.isidentifier():
        raise BadOptions(f"'{text}' is no variable name.", "Use letters, digits and underscores.")
    return text
