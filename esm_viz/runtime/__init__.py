"""Running work: the stage cache, threads, devices, freed memory, and results recorded on another machine."""
