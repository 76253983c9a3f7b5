"""What curation costs, against the published scripts."""
