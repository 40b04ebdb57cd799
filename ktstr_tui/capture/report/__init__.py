"""What a capture holds: copy it from the frozen guest, turn it into a report after the thaw, save it."""
