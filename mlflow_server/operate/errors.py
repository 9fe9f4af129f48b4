"""What the operator reads when a command cannot go on."""


class Problem(Exception):
    """One sentence for the person at the screen: what happened, what it means, what to do."""
