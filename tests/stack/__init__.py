"""Tests of the production server: the operator's command, its parts, and the stack as a whole."""
