"""Names on a hub instead of files: reading names, listing, headers from a distance, download and upload."""
