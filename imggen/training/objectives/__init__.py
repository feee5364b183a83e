"""What each kind of network is trained towards: its loss, its data and its samples."""
