"""Scripts that write the tables and pictures of the documents."""
