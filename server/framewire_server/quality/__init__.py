"""How good a model's answers are: against a dataset's truth, or against another model's answers."""
