"""What a block was asked to record besides the usual, as the capture files read it."""

from __future__ import annotations

import msgspec


class TrackOptions(msgspec.Struct, frozen=True):
    """The switches of one run.

    Attributes
    ----------
    grad_norm
        Record the norm of the gradients before every optimizer step. It reads every gradient once per step.
    checkpoints
        Keep the best and the last file of what ``torch.save`` writes.
    cases
        Keep one row per case of every metric that has them.
    capture
        Names of the capture files that are on, e.g. ``{"torch", "monai"}``; None: all of them.
    """

    grad_norm: bool = False
    checkpoints: bool = True
    cases: bool = True
    capture: frozenset[str] | None = None

    @property
    def keeps_checkpoints(self) -> bool:
        """Does the run keep what ``torch.save`` writes?"""
        return self.checkpoints and (self.capture is None or "checkpoints" in self.capture)
