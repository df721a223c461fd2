"""Networks: build, train, save and ask them."""
