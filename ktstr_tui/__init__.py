"""A live observatory for people who write Linux schedulers."""

__version__ = "0.1.0"
