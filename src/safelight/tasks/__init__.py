"""What a run is trained for: its loss and its measures."""
