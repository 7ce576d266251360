"""Who says yes on the phone: a pipeline that learns again from what it captured."""
