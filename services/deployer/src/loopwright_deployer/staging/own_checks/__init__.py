"""Checks that others bring: installed beside the deployer, or asked over HTTP."""
