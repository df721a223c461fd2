"""What every process depends on: its environment, texts without secrets, and the order to stop."""
