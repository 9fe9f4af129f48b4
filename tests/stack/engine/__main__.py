"""Lets the folder be run: ``python tests/stack/engine up -d``."""

import sys
from pathlib import Path

# Python puts this folder first on the path, where our modules could be taken for others.
sys.path[0] = str(Path(__file__).parents[3])

if __name__ == "__main__":
    from tests.stack.engine.command import main

    sys.exit(main())
