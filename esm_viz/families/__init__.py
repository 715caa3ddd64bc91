"""The vision tower (open_clip's), its layers by family, and classification heads."""
