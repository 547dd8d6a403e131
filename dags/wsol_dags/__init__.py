"""What the DAGs are made of; nothing here imports the pipeline, which is reached through its command line."""
