"""Where and how work runs: the stage cache, threads, freed memory, and results recorded on another machine."""
