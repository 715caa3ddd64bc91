"""Image sets: folders, zips, tables and arrays, opened by `image_source` and decoded only when needed."""
