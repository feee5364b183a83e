"""An organisation's rules, and how texts and patterns are compared."""
