"""Edit to running: builds on the host, and what is built into the running guest."""
