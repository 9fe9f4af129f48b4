"""What the user's own ``mlflow.*`` calls do inside a block: they record to its run, and wait for no server."""
