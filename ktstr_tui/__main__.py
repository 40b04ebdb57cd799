"""``python -m ktstr_tui``: the same as the program ``ktstr-tui``."""

from __future__ import annotations

from ktstr_tui.cli.main import main

if __name__ == "__main__":
    main()
