"""What is put on a loaded pipeline: LoRAs, embeddings, autoencoders, IP-Adapters."""
