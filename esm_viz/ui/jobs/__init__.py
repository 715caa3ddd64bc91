"""Work beside the page: the job queue, progress and cancelling, and estimates of time."""
