"""A stand-in for ``docker compose`` that runs every service of a compose file as a process of this machine.

It reads the very compose.yaml and .env of the server: interpolation, commands, environments, volumes, order of start
and health checks are those of the file. What a container adds is not here: users, read-only roots and networks are
tested in real containers. :mod:`~tests.stack.engine.command` is its command line.
"""
