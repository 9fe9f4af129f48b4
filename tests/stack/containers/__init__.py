"""The production stack in containers: podman, with images that are built here from a Debian root and the project itself."""
