"""The files of the pages: named after their content, so that browsers keep them, and sent compressed."""
