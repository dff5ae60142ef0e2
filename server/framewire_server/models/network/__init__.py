"""What a network file holds, read and prepared without knowing what it detects."""
