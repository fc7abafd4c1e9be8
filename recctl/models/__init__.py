"""The models, one a file, and the contract they share."""
