"""The check of how tokens meet: who hears of whom, by which attention."""
