"""The stream and its carriers: publisher and viewer over ZeroMQ, recording and replay over a file.

Two event loops meet here and never in one module: `zsocket`, `publisher` and `recording` run under trio in
the backend, `viewer` and `replay` under asyncio beside the screen. What both need (`framing`, `follower`,
`recfile`) knows no loop at all.
"""
