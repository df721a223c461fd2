"""Build, train, save and load Keras models, and predict with them."""
