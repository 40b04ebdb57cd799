"""The loop between what is seen and what is done: who may ask for what."""
