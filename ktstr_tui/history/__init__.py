"""What happened before: the kernel's own trace made into who ran, who waited, and who should have run whom."""
