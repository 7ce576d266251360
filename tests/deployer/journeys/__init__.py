"""Random journeys of many versions to a model's traffic, and an oracle that judges them."""
