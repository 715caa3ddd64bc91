"""Files before any heavy work: a recipe from a folder of names, headers opened and judged, and the cost to expect."""
