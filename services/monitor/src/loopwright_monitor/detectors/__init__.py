"""Sequential detectors over streams of rows, pure functions of what they have seen."""
