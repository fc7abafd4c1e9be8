"""How a report is written: HTML, plots, numbers, LaTeX and Markdown."""
