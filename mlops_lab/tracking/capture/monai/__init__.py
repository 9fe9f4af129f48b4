"""MONAI: metrics per case, networks, transforms and bundles."""
