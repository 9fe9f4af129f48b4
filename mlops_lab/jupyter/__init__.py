"""Adapters between Jupyter and the rooms: the server extension, the magics and the widgets."""
