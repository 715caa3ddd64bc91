"""Images: folders, zips and packed arrays, listed first and decoded when asked for."""
