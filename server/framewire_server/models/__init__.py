"""What a model is: its file, its tensors, its family, its labels."""
