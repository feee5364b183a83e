"""What a training recipe says, checked."""
