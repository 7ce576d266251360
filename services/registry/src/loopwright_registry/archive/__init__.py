"""The archive of every lifecycle event, and the stories it tells."""
