"""What the report and the study share: pages, numbers, images, axes."""
