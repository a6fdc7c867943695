"""Metadata CSV and images to a trained model and its spec."""
