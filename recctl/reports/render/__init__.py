"""Rendering: blocks to HTML, figures, number formats, and tables in Markdown and LaTeX."""
