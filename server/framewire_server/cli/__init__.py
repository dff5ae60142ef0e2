"""The commands: what a person types and reads."""
