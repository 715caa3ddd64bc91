"""The Explore tab: where fine-tuning changed the model."""
