"""What several test modules share: the reference, tolerances, problems and tensors."""
