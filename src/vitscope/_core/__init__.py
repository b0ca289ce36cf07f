"""What every other folder stands on: errors, shape letters, preprocessing, languages, safe files. Imports nothing of ours."""
