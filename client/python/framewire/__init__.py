"""Generated from proto/framewire/v1 by `make proto`; do not edit."""
