"""What factor models share."""
