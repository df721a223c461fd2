"""Archives from mirrors, splits and predictions as Parquet, and batches of them."""
