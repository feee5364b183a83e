"""Files of models and adapters: found, fetched, checked and read, without torch."""
