"""What is seen: frames, figures, sentences, reports."""
