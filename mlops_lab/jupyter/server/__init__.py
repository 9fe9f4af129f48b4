"""The Jupyter server extension: one handler file per room, and nothing of its own beside them."""
