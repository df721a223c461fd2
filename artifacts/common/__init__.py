"""Renderer, galleries, pages, number formats, images and axes that the report and the study share."""
