"""The stages of a merge, cached: from opened files to second moments, decompositions, merged layers and adapters."""
