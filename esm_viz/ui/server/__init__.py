"""The server around the page: request filter, rate limits, addresses, join page, assets and temporary folders."""
