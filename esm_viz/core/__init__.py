"""The words that all rooms share: the recipe, the records that pass between rooms, and every error."""
