"""What of a model's preparation and evaluation is inside the exported file, at both of its ends.

    uint8 pictures --resize, crop, normalise--> model --> logits --softmax--> probabilities --> top-k

The modules that a bundle needs (`spec`, `compare`) run on Python 3.10 with NumPy alone.
"""
