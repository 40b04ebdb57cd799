"""Bytes to values and back: TLV frames and the payloads of the messages in them, and the codec of events."""
