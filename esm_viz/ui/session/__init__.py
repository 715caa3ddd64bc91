"""The session of a visitor: its state in memory, on disk and in a share link, and its jobs."""
