"""The shapes of what comes in and goes out. Nothing here knows anything but marshmallow."""
