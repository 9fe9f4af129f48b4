"""Where a run comes from: its code, its machine, and the files that it really read."""
