"""What a session is: its state in memory, on disk and in a share link."""
