"""Steps of the flow, one module per step."""
