"""What families share to read boxes, scores and classes out of tensors."""
