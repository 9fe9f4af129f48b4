"""The production stack in containers: podman, with images built here from a Debian root and the project."""
