"""Media tools: finding them, writing their commands, running them, reading what they make. No records, no storage."""
