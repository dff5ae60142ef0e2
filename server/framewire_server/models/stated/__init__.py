"""What owners of models state: the model file, its keys, presets and texts."""
