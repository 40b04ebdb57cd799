"""The packaged scenarios, one TOML file each; `ktstr_tui.guest.scenario` reads them."""
