"""The server around the page: who may ask for what and how often, uploads, addresses and temporary folders."""
