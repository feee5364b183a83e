"""C2PA signatures: keys, certificates, claims."""
