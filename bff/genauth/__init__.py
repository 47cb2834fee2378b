"""GenAuth, from here to its HTTP API and back: the only place that speaks of identities and the only one with its network."""
