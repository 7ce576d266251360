"""The scorer beside other model servers: the same fitted models and rows, one worker each."""
