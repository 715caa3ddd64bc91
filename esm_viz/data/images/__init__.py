"""Images: folders, zips, tables and arrays, listed first and decoded when asked for; `image_source` is the door."""
