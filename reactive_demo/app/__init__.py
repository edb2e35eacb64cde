"""The application side: it writes the database, once, and nothing else."""
