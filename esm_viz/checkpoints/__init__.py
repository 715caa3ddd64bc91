"""Reading and writing checkpoints: headers, layouts, checks, tensors."""
