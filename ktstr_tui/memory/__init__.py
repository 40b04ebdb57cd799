"""Snapshots of a guest's memory: taking, keeping, exploring, and going on from them."""
