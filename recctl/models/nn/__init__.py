"""Models trained with torch: the training base class, the trainer and one module a network."""
