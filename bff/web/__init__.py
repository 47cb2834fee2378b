"""HTTP, and the only place that knows Flask. Routes read as the contract; what they ask of is in `context`."""
