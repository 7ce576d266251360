"""What two or more Loopwright services share."""
