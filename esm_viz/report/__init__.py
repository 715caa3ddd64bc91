"""Pages that leave the program: the exploration of a project and the report of an exported model."""
