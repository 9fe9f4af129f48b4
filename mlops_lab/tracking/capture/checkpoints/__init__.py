"""What training writes: checkpoints, kept before they are overwritten."""
