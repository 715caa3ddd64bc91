"""What all other packages share: the recipe, the records that pass between packages, and every error."""
