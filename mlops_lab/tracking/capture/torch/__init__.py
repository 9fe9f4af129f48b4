"""Plain PyTorch loops: losses, learning rates, epochs, loaders and seeds."""
