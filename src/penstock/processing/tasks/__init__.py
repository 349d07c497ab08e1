"""What each kind of task does, from its inputs to its commit."""
