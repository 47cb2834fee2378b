"""The processes around the application: how it starts, drains and ends."""
