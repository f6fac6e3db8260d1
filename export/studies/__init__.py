"""Published comparisons as commands; `export.lab.study` is what they share."""
