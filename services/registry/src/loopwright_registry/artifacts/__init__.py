"""The artifact proxy: paths that clients choose, over bytes known by digest."""
