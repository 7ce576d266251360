"""Reference profiles and the detectors that compare the stream with them."""
