"""Stop the guest and look at it: the rendezvous, the task that owns the engine, and what is done at each stop."""
