"""Whether records, history and objects agree: every promise that outlives a process, checked from outside.

It reads what the other rooms wrote and knows nothing of how they work: no tool, no HTTP, no process. It changes nothing
but what it is told to sweep.
"""
