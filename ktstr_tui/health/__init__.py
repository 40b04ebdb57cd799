"""Judge the running guest: samples, alarms, and why a task is silent. Nothing here stops the guest."""
