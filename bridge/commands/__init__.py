"""The commands of `bridge`: options, and what is shown."""
