"""Background jobs: the job queue, progress and cancelling."""
