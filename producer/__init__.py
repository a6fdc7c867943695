"""What fills the queue: metadata CSV to records, records to shards, shards to messages."""
