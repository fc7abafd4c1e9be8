"""What is made of runs to be read: diagnosis, figures, pages."""
