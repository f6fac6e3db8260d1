"""What a network is trained for: everything in which classification, segmentation and detection differ."""
