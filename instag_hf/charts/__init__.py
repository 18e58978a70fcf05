"""A Report in, pictures and the HTML page out."""
