"""One run: the machine, the coordinator, the sampler and the stream in one trio nursery."""
