"""Download archives from mirrors, store splits and predictions as Parquet, and read splits in batches."""
