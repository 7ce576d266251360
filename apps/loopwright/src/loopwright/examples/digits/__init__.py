"""Handwritten digits: image classification in two stages."""
