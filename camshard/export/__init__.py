"""A run in other forms: tables, one HDF5 file, pictures, figures, a FiftyOne dataset."""
