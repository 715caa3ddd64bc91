"""The I/O boundary: read headers, detect the layout, check, stream tensors, write."""
