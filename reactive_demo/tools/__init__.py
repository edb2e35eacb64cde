"""What looks after a pipeline: doctor, audit, and the services of the command line."""
