"""The engines that compute answers, one file each; `registry` lists them by format."""
