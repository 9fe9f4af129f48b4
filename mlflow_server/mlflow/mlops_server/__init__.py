"""What runs in the MLflow image: checks, the schema, the bucket, the server, its health, backups and accounts."""
