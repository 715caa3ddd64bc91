"""The cached stages of a merge: second moments, decompositions, merged layers, adapters and predictions."""
