"""The Export tab: the model written, proved and offered for download."""
