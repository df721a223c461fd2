"""The steps of the flow, a module each."""
