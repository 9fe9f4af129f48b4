"""From the journals to MLflow: what sends them, and what a server refuses."""
