"""Images: folders, zips, tables and arrays, listed first and decoded when asked for; `images.py` is the door."""
