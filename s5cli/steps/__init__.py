"""What a flow does between its decisions: networks and whatever listens to audio, free of knobs."""
