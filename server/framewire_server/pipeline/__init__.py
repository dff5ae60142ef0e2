"""Binds a model to a device behind the core's port."""
