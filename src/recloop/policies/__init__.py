"""From scores to the slate that a person sees."""
