"""Reference profiles: built from datasets or from first rows of traffic."""
