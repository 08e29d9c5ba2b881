"""What a depth message costs, from bytes to ring record, beside parsers, a floor in C and other projects."""
