"""Read and write kernel memory on request; writes are audited."""
