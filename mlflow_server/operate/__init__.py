"""What ``./mlops-server`` does: the operator's side of the production server.

Runs on the hospital's machine, outside the containers, with Python 3.9 or newer, its standard library and the programs
``openssl`` and ``docker`` only. :mod:`operate.command` is its command line.
"""
