"""The journal: what a run produced, on this computer's disk the moment it happens, and how much room it may take."""
