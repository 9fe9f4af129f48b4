"""The Jupyter server extension: one handler file per room, and nothing of its own beside them.

Handlers import their room on the first request: JupyterLab's start shall not wait for it.
"""
