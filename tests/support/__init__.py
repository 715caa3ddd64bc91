"""What several test rooms share: a tower small enough to merge in milliseconds, and how errors are compared."""
