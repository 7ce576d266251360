"""What a package says of how it is served, and River models as JSON."""
