"""Training: the models this project trains itself."""
