"""The contract between producer, worker and camshard: no TensorFlow, no command line."""
