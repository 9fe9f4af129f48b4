"""What the engine says in one line when it cannot go on."""


class EngineError(Exception):
    """The message is meant for the person who typed the command."""
