"""What a trained model is worth: its answers, its mistakes, and the files that show them."""
