"""Turn values into lines of words. Needs no terminal: the screen and the command line both read it."""
