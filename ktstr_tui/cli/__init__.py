"""The command line: every action of the screen has a twin here, with ``--json``."""
