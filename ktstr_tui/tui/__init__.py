"""The terminal's screen of a run: the app, its panes and screens, actions, keys and themes.

Everything shown comes from a `RunState` that a `Source` (live viewer or replay) folds; nothing here opens a
guest. Text of the guest is handled as plain text from end to end: lines of `(text, role)` pairs, never markup.
"""
