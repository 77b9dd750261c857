"""Networks: one per file, tensors only."""
