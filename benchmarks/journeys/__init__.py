"""How long repositories as people have them take from their first commit to a later champion."""
