"""What goes into a model: sets of examples, their labels, and how they are decoded and prepared."""
