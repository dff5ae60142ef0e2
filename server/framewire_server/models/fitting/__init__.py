"""From a family's match to how one model is served: sizes, batches, inputs, pixels, labels."""
